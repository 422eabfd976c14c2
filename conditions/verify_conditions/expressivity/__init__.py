"""The expressivity condition: some hidden weights make the last layer interpolate."""
