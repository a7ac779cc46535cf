"""With whom images are shared: the projects that are members of an image."""
