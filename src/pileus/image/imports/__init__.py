"""Import: images' data staged, brought from elsewhere, made fit, and kept in one or more stores."""
