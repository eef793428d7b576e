"""From a registered model version to a running one, through gates, and back; and who did it when."""
