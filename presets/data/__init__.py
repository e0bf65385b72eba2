"""The bundled data sets of Delta Lab as files; each folder is under the licences that its README names."""
