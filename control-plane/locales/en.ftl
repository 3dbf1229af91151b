# Texts of the problem codes of `control-plane`. Per code: title, what happened (.detail), what to do (.remedy).
