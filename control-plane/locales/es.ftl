# Textos de los códigos de problema de `control-plane`. Por código: título, qué pasó (.detail), qué hacer (.remedy).

## callers and texts

problem-operator_only = Solo para operadores
    .detail = Solo un operador de la plataforma puede hacer esto.
    .remedy = Pídalo al operador o use un token de operador.
problem-external_id_taken = external_id en uso
    .detail = Otro elemento tiene este external_id.
    .remedy = Encuéntrelo en la lista con ?external_id=…, o elija otro.
problem-text_unusable = Texto inaceptable
    .detail = El texto está vacío, tiene más de { $limit } caracteres u otra forma que la de la referencia de la API, o tiene caracteres de control o espacios en los extremos.
    .remedy = Corrija el texto.

## organizations

problem-organization_not_found = No existe la organización
    .detail = No hay tal organización que usted pueda ver.
    .remedy = Verifique el id y de quién es el token.

## regions

problem-region_unknown = Región desconocida
    .detail = No hay una región con este código.
    .remedy = Use una de GET /v1/regions, o pida a un operador que la cree.
problem-region_country_fixed = Una región no cambia de país
    .detail = La región está en { $country }; lo que está allí se permitió para ese país.
    .remedy = Cree otra región para el otro país.

## tenants

problem-tenant_not_found = No existe el tenant
    .detail = No hay tal tenant que usted pueda ver.
    .remedy = Verifique el id y de quién es el token.
problem-tenant_state = El estado del tenant no lo permite
    .detail = Un tenant en estado { $from } no pasa a { $to }.
    .remedy = Lea el tenant y sus movimientos y decida de nuevo.
problem-jurisdiction_unknown = Jurisdicción desconocida
    .detail = No hay perfil de cumplimiento de esta jurisdicción; hay { $known }.
    .remedy = Use una de ellas.
problem-licence_unknown = Licencia desconocida
    .detail = La jurisdicción no tiene tal licencia; tiene { $known }.
    .remedy = Use una de ellas.

## residency

problem-residency_condition_missing = Faltan condiciones para esta región
    .detail = Los datos de un tenant de { $jurisdiction } pueden estar en { $region } ({ $country }) solo si se cumplen estas condiciones: { $conditions }.
    .remedy = Registre cada una con su documento y fecha (POST /v1/tenants/…/residency-records) y repita la solicitud; errors dice más.
problem-residency_region_forbidden = Región no permitida
    .detail = El perfil de { $jurisdiction } no permite que los datos estén en { $region }, que está en { $country }.
    .remedy = Elija una región en un país que el perfil permita.
problem-residency_notice_missing = Falta el aviso a la autoridad
    .detail = No consta que se haya avisado a la autoridad sobre esta región. Regla: { $source }
    .remedy = Avise a la autoridad y registre el aviso con su fecha.
problem-residency_certificate_missing = Faltan certificados
    .detail = Ninguna celda de esta región tiene un certificado vigente de { $attestations }.
    .remedy = Pida a un operador que registre los certificados de la celda, o elija otra región.
problem-residency_regulator_access_missing = Falta el acceso de la autoridad
    .detail = No consta que la autoridad pueda examinar datos y contratos en esta región. Regla: { $source }
    .remedy = Acuerde ese acceso en el contrato y regístrelo con su fecha.
problem-residency_local_only_contract_missing = Falta el contrato que deja los datos allí
    .detail = No consta que el contrato mantenga los datos en el país de esta región. Regla: { $source }
    .remedy = Firme tal contrato y regístrelo con su fecha.
problem-residency_record_too_young = El registro aún no cuenta
    .detail = Lo registrado cuenta a partir del { $met_on }.
    .remedy = Repita la solicitud ese día.
problem-residency_condition_of_cell = Condición que cumplen las celdas
    .detail = Los certificados los registran operadores para las celdas, no para los tenants.
    .remedy = Pida al operador los certificados de la celda.
problem-residency_record_exists = Ya está registrado
    .detail = El tenant tiene un registro vigente de esta condición para esta región.
    .remedy = Retire primero ese registro si el nuevo debe reemplazarlo.
problem-residency_record_not_found = No existe el registro
    .detail = El tenant no tiene tal registro.
    .remedy = Verifique el id con GET /v1/tenants/…/residency-records.

## documents

problem-document_not_found = No existe ese documento
    .detail = No hay tal documento que usted pueda ver.
    .remedy = Revise el id, y de quién es el token que usa.
problem-document_elsewhere = El documento está en otra parte
    .detail = El documento tiene su lugar en { $region }, y el almacén de su jurisdicción está ahora en otra región.
    .remedy = Pida al operador que vuelva a configurar el almacén en { $region } ([[documents]]); después repita la solicitud.
problem-document_store_missing = Sin almacén para estos documentos
    .detail = No hay almacén para los documentos de { $jurisdiction } en una región de su país.
    .remedy = Pida al operador que nombre uno en la configuración del plano de control ([[documents]]), en una región de GET /v1/regions que esté en el país; después repita la solicitud.
problem-document_store_unusable = No se llega al documento por ahora
    .detail = El enlace no se puede firmar, porque la clave de acceso del almacén no se puede usar. De un documento nuevo consta qué será.
    .remedy = Repita la solicitud con la misma Idempotency-Key; si no ayuda, avise al operador.

## operations

problem-operation_not_found = No existe la operación
    .detail = No hay tal operación que usted pueda ver.
    .remedy = Verifique el id y de quién es el token.
problem-operation_running = Hay una operación en curso
    .detail = La operación { $operation } sobre lo mismo no ha terminado.
    .remedy = Obsérvela (GET /v1/operations/{ $operation }/events) o cancélela, y repita la solicitud.
problem-operation_not_cancellable = No se puede cancelar
    .detail = La operación terminó o pasó el punto hasta el cual se puede deshacer.
    .remedy = Lea la operación; lo que hizo se puede eliminar.

## environments

problem-environment_not_found = No existe el ambiente
    .detail = No hay tal ambiente que usted pueda ver.
    .remedy = Verifique el id y de quién es el token.
problem-environment_exists = El tenant ya tiene tal ambiente
    .detail = Un tenant tiene un ambiente de cada modo, y este ya tiene uno.
    .remedy = Encuéntrelo con GET /v1/environments?tenant_id=…, o elimínelo primero.
problem-environment_state = El estado del ambiente no lo permite
    .detail = Un ambiente en estado { $state } no puede hacer esto.
    .remedy = Lea el ambiente y espere hasta que esté listo.
problem-clock_live = Un ambiente real tiene la hora del reloj
    .detail = Solo el reloj de un sandbox puede ir adelantado.
    .remedy = Omita clock_offset_ms o use un sandbox.
problem-clock_backwards = El reloj solo avanza
    .detail = El reloj del ambiente ya debe ir adelantado { $offset } ms.
    .remedy = Indique al menos otro tanto.
problem-tenant_not_approved = El tenant no está aprobado
    .detail = Un tenant en estado { $state } no recibe ambientes.
    .remedy = Haga verificar y aprobar primero al tenant.
problem-tenant_restricted = El tenant está restringido
    .detail = Un tenant restringido conserva lo que tiene y no recibe ambientes ni clientes nuevos.
    .remedy = Pida a un operador que levante la restricción. Hasta entonces lo que hay puede usarse, rotarse y revocarse.
problem-tenant_suspended = El tenant está suspendido
    .detail = Ningún ambiente de un tenant suspendido responde.
    .remedy = Haga reanudar al tenant: lo que su suspensión suspendió vuelve a responder por sí solo.
problem-profile_version_unknown = Versión del perfil desconocida
    .detail = El perfil de la jurisdicción tiene la versión { $known }.
    .remedy = Use esa, o no indique ninguna.

## clients

problem-client_not_found = No existe el cliente
    .detail = No hay tal cliente que usted pueda ver.
    .remedy = Verifique el id y de quién es el token.
problem-client_revoked = El cliente está revocado
    .detail = Un cliente revocado lo está para siempre.
    .remedy = Cree otro cliente.
problem-client_limit = Demasiados clientes
    .detail = Puede haber { $limit } clientes no revocados, y los hay.
    .remedy = Revoque uno que nadie necesite.
problem-client_credentials_unusable = Credenciales no utilizables
    .detail = private_key_jwt necesita de una a tres claves públicas P-256 con nombres distintos, tls de una a tres huellas de certificados (SHA-256, base64url), secret ninguna de las dos; la vinculación a un certificado necesita huellas.
    .remedy = Envíe lo que el método necesita, y nada más.
problem-client_secret_forbidden = Aquí no hay secretos
    .detail = Solo los clientes de un sandbox pueden tener un secreto.
    .remedy = Use private_key_jwt.
problem-client_unbound = Los tokens deben estar vinculados
    .detail = En modo live los tokens están vinculados a una clave (dpop) o a un certificado (certificate).
    .remedy = Elija una de estas vinculaciones.
problem-client_scopes_unusable = Alcances no utilizables
    .detail = Un cliente tiene de 1 a 64 alcances, y en el plano de control ninguno que no tenga quien lo crea.
    .remedy = Indique alcances de la referencia de la API, como accounts:read.

## cells

problem-cell_not_found = No existe la celda
    .detail = No hay una celda con este id.
    .remedy = Encuéntrela con GET /v1/cells.
problem-cell_name_taken = Nombre en uso
    .detail = Otra celda tiene este nombre.
    .remedy = Encuéntrela con GET /v1/cells?name=…, o elija otro nombre.
problem-cell_name_unusable = No es nombre de celda
    .detail = El nombre de una celda tiene de 1 a 63 letras minúsculas, dígitos y guiones.
    .remedy = Elija un nombre así.
problem-cell_in_use = Hay entornos en la celda
    .detail = La celda tiene { $placed } entornos.
    .remedy = Retírelos primero, o indique una capacidad en la que quepan.
problem-cell_state = El estado de la celda no lo permite
    .detail = Una celda en { $from } no pasa a { $to }.
    .remedy = Lea la celda y decida de nuevo.
problem-cell_jurisdiction_unknown = Jurisdicción desconocida
    .detail = No hay perfil de cumplimiento de esta jurisdicción; hay { $known }.
    .remedy = Use una de ellas.
problem-out_of_bounds = Fuera de los límites
    .detail = El valor debe estar entre { $lowest } y { $highest }.
    .remedy = Elija uno de esos.

## links

problem-join_token_unknown = Token de ingreso desconocido
    .detail = Nadie creó este token de ingreso, o se cortó o cambió en el camino.
    .remedy = Pida a un operador que cree uno (POST /v1/cells/…/join-tokens) y copie la línea entera.
problem-join_token_expired = Token de ingreso vencido
    .detail = El plazo de este token de ingreso terminó.
    .remedy = Pida otro a un operador.
problem-join_token_used = Token de ingreso ya usado
    .detail = Un token de ingreso sirve una vez, y este se usó con otra solicitud.
    .remedy = Pida otro a un operador; si ninguno de los suyos lo usó, averigüe quién fue.
problem-contract_unsupported = Sin versión común del contrato
    .detail = El plano de control habla las versiones { $supported } del contrato, y la celda ninguna de ellas.
    .remedy = Actualice el más antiguo; la celda sigue trabajando mientras tanto.
problem-clock_skew = Relojes demasiado distantes
    .detail = El reloj de la celda adelanta { $skew_ms } ms al del plano de control.
    .remedy = Ajuste ambos por NTP e intente de nuevo.
problem-csr_invalid = Solicitud de certificado inutilizable
    .detail = No es una solicitud PKCS #10, no está firmada por su propia clave, o la clave no es ECDSA en P-256.
    .remedy = Haga otra solicitud.
problem-csr_for_another_cell = Solicitud para otra celda
    .detail = La solicitud de certificado nombra otra celda que la que pregunta.
    .remedy = Haga una solicitud para esta celda.
problem-cell_mismatch = Configurada como otra celda
    .detail = La celda está configurada con otro valor de { $field } que la celda como la que quiere ingresar.
    .remedy = Corrija su configuración, o use un token de ingreso de la celda que es.
problem-message_unusable = Fuera de los límites
    .detail = El campo nombrado es más largo, o tiene más elementos, de lo que el contrato permite.
    .remedy = Envíelo dentro de sus límites.
problem-certificate_missing = Falta el certificado de una celda
    .detail = Esto es para celdas, y en esta conexión no hay certificado de ninguna.
    .remedy = Ingrese primero.
problem-certificate_revoked = Certificado no reconocido
    .detail = Este certificado fue revocado, o no se conoce aquí.
    .remedy = Pida a un operador un token de ingreso e ingrese de nuevo.
problem-certificate_expired = El certificado terminó
    .detail = Con un certificado que terminó, una celda solo puede pedir el siguiente.
    .remedy = Renuévelo dentro de los 30 días de su fin; después, ingrese de nuevo.
problem-cell_identity_taken = Otra instancia es esta celda
    .detail = Otra base de datos ingresó como esta celda, y sigue como ella.
    .remedy = Detenga la copia; para que esta tome el lugar, ingrese con un token de ingreso que tenga replace_instance.
problem-cell_forked = Dos siguen de una misma identidad
    .detail = Dos instancias con la identidad de esta celda han informado. No se escucha a ninguna.
    .remedy = Detenga la copia y haga ingresar a la correcta con un token de ingreso que tenga replace_instance.
problem-cell_retired = La celda fue retirada
    .detail = Esta celda fue retirada y no se admite de nuevo.
    .remedy = Pida a un operador que cree otra celda.
