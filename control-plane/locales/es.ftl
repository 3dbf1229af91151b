# Textos de los códigos de problema de `control-plane`. Por código: título, qué pasó (.detail), qué hacer (.remedy).
