# Textos dos códigos de problema de `data-plane`. Por código: título, o que houve (.detail), o que fazer (.remedy).

## environments

problem-sandbox_only = Somente em sandbox
    .detail = Os simuladores e o relógio móvel existem somente em ambientes sandbox.
    .remedy = Use um token de um ambiente sandbox.
problem-clock_backwards = O relógio só avança
    .detail = O relógio do ambiente já mostra { $now }.
    .remedy = Informe um instante posterior.
problem-clock_too_far = Longe demais
    .detail = O relógio de um sandbox pode adiantar no máximo cem anos.
    .remedy = Informe um instante anterior.
