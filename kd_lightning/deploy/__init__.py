"""The trained artifact: saving, export, backends, enhancing files."""
