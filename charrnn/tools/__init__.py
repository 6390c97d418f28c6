"""What reads finished runs and models, or measures a configuration; nothing in the core knows of it."""
