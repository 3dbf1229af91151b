# Textos de los códigos de problema de `data-plane`. Por código: título, qué pasó (.detail), qué hacer (.remedy).

## environments

problem-sandbox_only = Solo en sandbox
    .detail = Los simuladores y el reloj movible existen solo en ambientes sandbox.
    .remedy = Use un token de un ambiente sandbox.
problem-clock_backwards = El reloj solo avanza
    .detail = El reloj del ambiente ya muestra { $now }.
    .remedy = Indique un instante posterior.
problem-clock_too_far = Demasiado adelante
    .detail = El reloj de un sandbox puede adelantarse cien años como máximo.
    .remedy = Indique un instante anterior.
