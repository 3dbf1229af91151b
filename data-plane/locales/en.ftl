# Texts of the problem codes of `data-plane`. Per code: title, what happened (.detail), what to do (.remedy).

## environments

problem-sandbox_only = Sandbox only
    .detail = Simulators and the movable clock exist in sandbox environments only.
    .remedy = Use a token of a sandbox environment.
problem-clock_backwards = The clock moves forward only
    .detail = The environment's clock already shows { $now }.
    .remedy = Name a later instant.
problem-clock_too_far = Too far ahead
    .detail = A sandbox's clock can be at most a hundred years ahead.
    .remedy = Name an earlier instant.
