"""Every word that pages show, in English and Chinese."""
