"""The stages of dvc.yaml. One word names a stage, its module, its params and its results folder."""
