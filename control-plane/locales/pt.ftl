# Textos dos códigos de problema de `control-plane`. Por código: título, o que houve (.detail), o que fazer (.remedy).

## callers and texts

problem-operator_only = Somente para operadores
    .detail = Somente um operador da plataforma pode fazer isto.
    .remedy = Peça ao operador ou use um token de operador.
problem-external_id_taken = external_id em uso
    .detail = Outro item tem este external_id.
    .remedy = Encontre-o na lista com ?external_id=…, ou escolha outro.
problem-text_unusable = Texto inaceitável
    .detail = O texto está vazio, tem mais de { $limit } caracteres ou outra forma que a da referência da API, ou tem caracteres de controle ou espaços nas pontas.
    .remedy = Corrija o texto.

## organizations

problem-organization_not_found = Organização inexistente
    .detail = Não há tal organização que você possa ver.
    .remedy = Verifique o id e de quem é o token.

## regions

problem-region_unknown = Região desconhecida
    .detail = Não há região com este código.
    .remedy = Use uma de GET /v1/regions, ou peça a um operador que a crie.
problem-region_country_fixed = Uma região não muda de país
    .detail = A região está em { $country }; o que está lá foi permitido para esse país.
    .remedy = Crie outra região para o outro país.

## tenants

problem-tenant_not_found = Tenant inexistente
    .detail = Não há tal tenant que você possa ver.
    .remedy = Verifique o id e de quem é o token.
problem-tenant_state = O estado do tenant não permite
    .detail = Um tenant no estado { $from } não passa a { $to }.
    .remedy = Leia o tenant e seus movimentos e decida de novo.
problem-jurisdiction_unknown = Jurisdição desconhecida
    .detail = Não há perfil de conformidade desta jurisdição; há { $known }.
    .remedy = Use uma delas.
problem-licence_unknown = Licença desconhecida
    .detail = A jurisdição não tem tal licença; tem { $known }.
    .remedy = Use uma delas.

## residency

problem-residency_condition_missing = Faltam condições para esta região
    .detail = Dados de um tenant de { $jurisdiction } podem ficar em { $region } ({ $country }) somente se estas condições forem cumpridas: { $conditions }.
    .remedy = Registre cada uma com documento e data (POST /v1/tenants/…/residency-records) e repita a solicitação; errors diz mais.
problem-residency_region_forbidden = Região não permitida
    .detail = O perfil de { $jurisdiction } não permite que os dados fiquem em { $region }, que está em { $country }.
    .remedy = Escolha uma região em um país que o perfil permita.
problem-residency_notice_missing = Falta a comunicação à autoridade
    .detail = Não consta que a autoridade tenha sido comunicada sobre esta região. Regra: { $source }
    .remedy = Comunique a autoridade e registre a comunicação com sua data.
problem-residency_certificate_missing = Faltam certificados
    .detail = Nenhuma célula desta região tem certificado válido de { $attestations }.
    .remedy = Peça a um operador que registre os certificados da célula, ou escolha outra região.
problem-residency_regulator_access_missing = Falta o acesso da autoridade
    .detail = Não consta que a autoridade possa examinar dados e contratos nesta região. Regra: { $source }
    .remedy = Acorde esse acesso no contrato e registre-o com sua data.
problem-residency_local_only_contract_missing = Falta o contrato que mantém os dados lá
    .detail = Não consta que o contrato mantenha os dados no país desta região. Regra: { $source }
    .remedy = Assine tal contrato e registre-o com sua data.
problem-residency_record_too_young = O registro ainda não conta
    .detail = O que está registrado conta a partir de { $met_on }.
    .remedy = Repita a solicitação nesse dia.
problem-residency_condition_of_cell = Condição que as células cumprem
    .detail = Certificados são registrados por operadores para células, não para tenants.
    .remedy = Peça ao operador os certificados da célula.
problem-residency_record_exists = Já registrado
    .detail = O tenant tem um registro válido desta condição para esta região.
    .remedy = Retire primeiro esse registro, se o novo deve substituí-lo.
problem-residency_record_not_found = Registro inexistente
    .detail = O tenant não tem tal registro.
    .remedy = Verifique o id com GET /v1/tenants/…/residency-records.

## documents

problem-document_not_found = Não existe esse documento
    .detail = Não há tal documento que você possa ver.
    .remedy = Confira o id, e de quem é o token que usa.
problem-document_elsewhere = O documento está em outro lugar
    .detail = O documento tem seu lugar em { $region }, e o repositório da sua jurisdição está agora em outra região.
    .remedy = Peça ao operador que volte a configurar o repositório em { $region } ([[documents]]); depois repita a solicitação.
problem-document_store_missing = Sem repositório para estes documentos
    .detail = Não há repositório para os documentos de { $jurisdiction } em uma região do seu país.
    .remedy = Peça ao operador que nomeie um na configuração do plano de controle ([[documents]]), em uma região de GET /v1/regions que esteja no país; depois repita a solicitação.
problem-document_store_unusable = Não se chega ao documento por ora
    .detail = O link não pode ser assinado, porque a chave de acesso do repositório não pode ser usada. De um documento novo está registrado o que será.
    .remedy = Repita a solicitação com a mesma Idempotency-Key; se não ajudar, avise o operador.

## operations

problem-operation_not_found = Operação inexistente
    .detail = Não há tal operação que você possa ver.
    .remedy = Verifique o id e de quem é o token.
problem-operation_running = Há uma operação em curso
    .detail = A operação { $operation } sobre a mesma coisa não terminou.
    .remedy = Acompanhe-a (GET /v1/operations/{ $operation }/events) ou cancele-a, e repita a solicitação.
problem-operation_not_cancellable = Não pode ser cancelada
    .detail = A operação terminou ou passou do ponto até o qual pode ser desfeita.
    .remedy = Leia a operação; o que ela fez pode ser removido.

## environments

problem-environment_not_found = Ambiente inexistente
    .detail = Não há tal ambiente que você possa ver.
    .remedy = Verifique o id e de quem é o token.
problem-environment_exists = O tenant já tem tal ambiente
    .detail = Um tenant tem um ambiente de cada modo, e este já tem um.
    .remedy = Encontre-o com GET /v1/environments?tenant_id=…, ou remova-o primeiro.
problem-environment_state = O estado do ambiente não permite
    .detail = Um ambiente no estado { $state } não pode fazer isto.
    .remedy = Leia o ambiente e espere até que esteja pronto.
problem-clock_live = Um ambiente real tem a hora do relógio
    .detail = Só o relógio de um sandbox pode estar adiantado.
    .remedy = Omita clock_offset_ms ou use um sandbox.
problem-clock_backwards = O relógio só avança
    .detail = O relógio do ambiente já deve estar adiantado { $offset } ms.
    .remedy = Informe pelo menos o mesmo.
problem-tenant_not_approved = O tenant não está aprovado
    .detail = Um tenant no estado { $state } não recebe ambientes.
    .remedy = Faça primeiro verificar e aprovar o tenant.
problem-tenant_restricted = O tenant está restrito
    .detail = Um tenant restrito conserva o que tem e não recebe ambientes nem clientes novos.
    .remedy = Peça a um operador que levante a restrição. Até lá o que há pode ser usado, rotacionado e revogado.
problem-tenant_suspended = O tenant está suspenso
    .detail = Nenhum ambiente de um tenant suspenso responde.
    .remedy = Faça retomar o tenant: o que a sua suspensão suspendeu volta a responder por si só.
problem-profile_version_unknown = Versão do perfil desconhecida
    .detail = O perfil da jurisdição tem a versão { $known }.
    .remedy = Use essa, ou não indique nenhuma.

## clients

problem-client_not_found = Cliente inexistente
    .detail = Não há tal cliente que você possa ver.
    .remedy = Verifique o id e de quem é o token.
problem-client_revoked = O cliente está revogado
    .detail = Um cliente revogado fica assim para sempre.
    .remedy = Crie outro cliente.
problem-client_limit = Clientes demais
    .detail = Pode haver { $limit } clientes não revogados, e já há.
    .remedy = Revogue um de que ninguém precise.
problem-client_credentials_unusable = Credenciais não utilizáveis
    .detail = private_key_jwt precisa de uma a três chaves públicas P-256 com nomes diferentes, tls de uma a três impressões de certificados (SHA-256, base64url), secret de nenhuma das duas; a vinculação a um certificado precisa de impressões.
    .remedy = Envie o que o método precisa, e nada mais.
problem-client_secret_forbidden = Aqui não há segredos
    .detail = Só clientes de um sandbox podem ter um segredo.
    .remedy = Use private_key_jwt.
problem-client_unbound = Os tokens têm de estar vinculados
    .detail = No modo live os tokens são vinculados a uma chave (dpop) ou a um certificado (certificate).
    .remedy = Escolha uma dessas vinculações.
problem-client_scopes_unusable = Escopos não utilizáveis
    .detail = Um cliente tem de 1 a 64 escopos, e no plano de controle nenhum que quem o cria não tenha.
    .remedy = Indique escopos da referência da API, como accounts:read.

## cells

problem-cell_not_found = A célula não existe
    .detail = Não há uma célula com este id.
    .remedy = Encontre-a com GET /v1/cells.
problem-cell_name_taken = Nome em uso
    .detail = Outra célula tem este nome.
    .remedy = Encontre-a com GET /v1/cells?name=…, ou escolha outro nome.
problem-cell_name_unusable = Não é nome de célula
    .detail = O nome de uma célula tem de 1 a 63 letras minúsculas, dígitos e hifens.
    .remedy = Escolha um nome assim.
problem-cell_in_use = Há ambientes na célula
    .detail = A célula tem { $placed } ambientes.
    .remedy = Remova-os primeiro, ou indique uma capacidade em que caibam.
problem-cell_state = O estado da célula não permite
    .detail = Uma célula em { $from } não passa a { $to }.
    .remedy = Leia a célula e decida de novo.
problem-cell_jurisdiction_unknown = Jurisdição desconhecida
    .detail = Não há perfil de conformidade desta jurisdição; há { $known }.
    .remedy = Use uma delas.
problem-out_of_bounds = Fora dos limites
    .detail = O valor deve estar entre { $lowest } e { $highest }.
    .remedy = Escolha um desses.

## links

problem-join_token_unknown = Token de ingresso desconhecido
    .detail = Ninguém criou este token de ingresso, ou ele foi cortado ou alterado no caminho.
    .remedy = Peça a um operador que crie um (POST /v1/cells/…/join-tokens) e copie a linha inteira.
problem-join_token_expired = Token de ingresso vencido
    .detail = O prazo deste token de ingresso terminou.
    .remedy = Peça outro a um operador.
problem-join_token_used = Token de ingresso já usado
    .detail = Um token de ingresso vale uma vez, e este foi usado com outra solicitação.
    .remedy = Peça outro a um operador; se ninguém dos seus o usou, descubra quem foi.
problem-contract_unsupported = Sem versão comum do contrato
    .detail = O plano de controle fala as versões { $supported } do contrato, e a célula nenhuma delas.
    .remedy = Atualize o mais antigo; a célula continua trabalhando enquanto isso.
problem-clock_skew = Relógios distantes demais
    .detail = O relógio da célula adianta { $skew_ms } ms em relação ao do plano de controle.
    .remedy = Ajuste os dois por NTP e tente de novo.
problem-csr_invalid = Solicitação de certificado inutilizável
    .detail = Não é uma solicitação PKCS #10, não está assinada pela própria chave, ou a chave não é ECDSA em P-256.
    .remedy = Faça outra solicitação.
problem-csr_for_another_cell = Solicitação para outra célula
    .detail = A solicitação de certificado nomeia outra célula que não a que pede.
    .remedy = Faça uma solicitação para esta célula.
problem-cell_mismatch = Configurada como outra célula
    .detail = A célula está configurada com outro valor de { $field } que a célula como a qual quer ingressar.
    .remedy = Corrija a configuração, ou use um token de ingresso da célula que ela é.
problem-message_unusable = Fora dos limites
    .detail = O campo nomeado é mais longo, ou tem mais itens, do que o contrato permite.
    .remedy = Envie-o dentro dos limites.
problem-certificate_missing = Falta o certificado de uma célula
    .detail = Isto é para células, e nesta conexão não há certificado de nenhuma.
    .remedy = Ingresse primeiro.
problem-certificate_revoked = Certificado não reconhecido
    .detail = Este certificado foi revogado, ou não é conhecido aqui.
    .remedy = Peça a um operador um token de ingresso e ingresse de novo.
problem-certificate_expired = O certificado terminou
    .detail = Com um certificado que terminou, uma célula só pode pedir o seguinte.
    .remedy = Renove-o em até 30 dias do fim; depois disso, ingresse de novo.
problem-cell_identity_taken = Outra instância é esta célula
    .detail = Outro banco de dados ingressou como esta célula, e continua como ela.
    .remedy = Pare a cópia; para que esta tome o lugar, ingresse com um token de ingresso que tenha replace_instance.
problem-cell_forked = Dois continuam de uma mesma identidade
    .detail = Duas instâncias com a identidade desta célula informaram. Nenhuma é ouvida.
    .remedy = Pare a cópia e faça a correta ingressar com um token de ingresso que tenha replace_instance.
problem-cell_retired = A célula foi aposentada
    .detail = Esta célula foi aposentada e não é admitida de novo.
    .remedy = Peça a um operador que crie outra célula.
