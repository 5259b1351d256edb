"""The whole pipeline in order, and one stage again."""
