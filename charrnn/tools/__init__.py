"""Tools that read finished runs and models, or measure a configuration. No room below imports them."""
