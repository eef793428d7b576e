"""What people look at for one analysed clip: a page, a video with names in it, and files for other tools."""
