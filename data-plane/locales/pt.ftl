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

## parties

problem-party_external_id_taken = external_id em uso
    .detail = Outra parte deste ambiente tem este external_id.
    .remedy = Encontre-a com GET /v1/parties?external_id=…, ou escolha outro.
problem-party_changed = Mudou nesse meio-tempo
    .detail = A parte mudou desde que você a leu; If-Match indica uma versão anterior.
    .remedy = Leia a parte de novo e envie a alteração com o novo ETag.
problem-too_long = Longo demais
    .detail = Tem mais de { $limit } caracteres ou itens.
    .remedy = Encurte-o.
problem-other_person = Campo do outro tipo de pessoa
    .detail = Pessoas físicas têm given_names, family_names e born_on; pessoas jurídicas, legal_name e trade_name.
    .remedy = Omita o campo ou corrija o tipo.
problem-unknown_identifier = Tipo de identificador desconhecido
    .detail = Este tipo de pessoa tem aqui estes tipos de identificador: { $known }.
    .remedy = Use um deles.
problem-identifier_form = Identificador malformado
    .detail = Não tem a forma do identificador { $type }.
    .remedy = Confira o identificador com a pessoa ou no documento.
problem-email_form = Não é um endereço de e-mail
    .detail = Isto não é um endereço de e-mail.
    .remedy = Envie um endereço como nome@example.com.
problem-phone_form = Não é um número de telefone
    .detail = Isto não é um número de telefone no formato E.164.
    .remedy = Envie o sinal de mais, o código do país e o número, só dígitos: +5511912345678.
problem-birth_date = Não é uma data de nascimento
    .detail = A data é anterior a 1900 ou futura.
    .remedy = Corrija a data.
problem-import_empty = Nada a importar
    .detail = O arquivo não tem linhas depois do cabeçalho.
    .remedy = Envie um cabeçalho e pelo menos uma linha.
problem-import_columns = Colunas inesperadas
    .detail = O cabeçalho não pode ser lido como UTF-8, não tem uma coluna obrigatória ou traz uma coluna desconhecida ou repetida. Nada foi importado.
    .remedy = Corrija o cabeçalho; errors indica as colunas.
problem-import_too_long = Linhas demais
    .detail = Uma importação aceita no máximo { $limit } linhas. Nada foi importado.
    .remedy = Divida o arquivo; cada parte precisa do cabeçalho.
problem-line_encoding = Linha sem UTF-8
    .detail = A linha não é UTF-8.
    .remedy = Salve o arquivo como UTF-8.
problem-line_quotes = Aspas incorretas
    .detail = Uma aspa não foi fechada ou está dentro de um campo sem aspas.
    .remedy = Ponha o campo inteiro entre aspas e duplique as internas; um campo não tem quebra de linha.
problem-line_fields = Número de campos incorreto
    .detail = A linha tem { $found } campos e o cabeçalho { $expected }.
    .remedy = Ponha entre aspas os campos que contêm vírgula; não omita nenhum.
problem-party_differs = Parte conhecida com outro conteúdo
    .detail = Há uma parte com este external_id e outro conteúdo. Ela ficou como está.
    .remedy = Altere a parte com PATCH /v1/parties/…, ou corrija a linha.

## accounts

problem-account_external_id_taken = Id externo ocupado
    .detail = Outra conta deste ambiente tem este external_id.
    .remedy = Use outro, ou leia a conta que o tem.
problem-account_party_unknown = Pessoa desconhecida
    .detail = Nenhuma pessoa deste ambiente tem este id.
    .remedy = Crie primeiro a pessoa, ou corrija o id.
problem-currency_not_offered = Outra moeda
    .detail = Os livros deste ambiente estão em { $currency }.
    .remedy = Informe essa moeda, ou nenhuma.
problem-account_state = Estado errado
    .detail = A conta está { $state ->
        [open] aberta
        [frozen] congelada
       *[closed] encerrada
    }.
    .remedy = Leia a conta e peça o que seu estado permite. Uma conta encerrada permanece encerrada.
problem-account_not_empty = Conta não vazia
    .detail = A conta tem saldo de { $balance } e retenções de { $held }.
    .remedy = Mova o saldo para outra conta, e capture ou anule as retenções.
problem-not_a_customers_account = Não é conta de cliente
    .detail = A conta é da própria instituição; só se bloqueiam contas de clientes.
    .remedy = Informe a conta de um cliente.
problem-block_beneficiary = Beneficiária inadequada
    .detail = O que recebe um valor bloqueado é uma conta interna aberta deste ambiente.
    .remedy = Abra uma conta interna para ordens executadas, e informe-a.
problem-nothing_to_block = Nada a bloquear
    .detail = A conta tem { $available } disponíveis.
    .remedy = Congele a conta, ou repita a ordem com outra chave quando entrar dinheiro.
problem-block_ended = Bloqueio encerrado
    .detail = O bloqueio já foi liberado.
    .remedy = Consulte a retenção, e ordene um novo bloqueio se for preciso.
problem-block_refused = Bloqueio recusado
    .detail = O razão recusou o bloqueio: { $reason }.
    .remedy = Consulte essa razão e repita a solicitação com outra chave.
problem-period_reversed = Período invertido
    .detail = O período termina antes de começar.
    .remedy = Troque from_on e to_on.
problem-period_too_long = Período longo demais
    .detail = Um extrato abrange no máximo { $days } dias.
    .remedy = Peça períodos mais curtos, um após o outro.
problem-period_in_future = Período no futuro
    .detail = Hoje é { $today }.
    .remedy = Faça o período terminar hoje ou antes.
problem-not_acceptable = Nenhuma forma aceitável
    .detail = Não há resposta em uma forma que o cabeçalho Accept nomeie.
    .remedy = Aceite uma de { $forms }.

## payments

problem-preview_unknown = Prévia desconhecida
    .detail = Nenhuma prévia com este id lhe foi mostrada.
    .remedy = Crie uma com POST /v1/payment-previews.
problem-preview_expired = Prévia vencida
    .detail = O prazo da prévia terminou.
    .remedy = Crie uma nova com POST /v1/payment-previews e mostre-a a quem paga.
problem-preview_used = Prévia usada
    .detail = A prévia tornou-se o pagamento { $payment }.
    .remedy = Consulte esse pagamento; para pagar de novo, crie uma nova prévia.
problem-payment_external_id_taken = external_id em uso
    .detail = Outro pagamento deste ambiente tem este external_id.
    .remedy = Encontre-o com GET /v1/payments?external_id=…, ou escolha outro.
problem-payment_account_internal = Não é a conta de um cliente
    .detail = A conta é da própria instituição; pagamentos vão entre contas de clientes.
    .remedy = Use POST /v1/transfers para as contas da instituição.
