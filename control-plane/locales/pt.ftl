# Textos dos códigos de problema de `control-plane`. Por código: título, o que houve (.detail), o que fazer (.remedy).
