"""Labels of people's annotation tools and of published datasets, as a custom dataset."""
