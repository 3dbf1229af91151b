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

## parties

problem-party_external_id_taken = external_id en uso
    .detail = Otra parte de este ambiente tiene este external_id.
    .remedy = Encuéntrela con GET /v1/parties?external_id=…, o elija otro.
problem-party_changed = Cambió entretanto
    .detail = La parte cambió desde que usted la leyó; If-Match nombra una versión anterior.
    .remedy = Lea la parte de nuevo y envíe su cambio con el nuevo ETag.
problem-too_long = Demasiado largo
    .detail = Tiene más de { $limit } caracteres o elementos.
    .remedy = Acórtelo.
problem-other_person = Campo del otro tipo de persona
    .detail = Las personas naturales (físicas) tienen given_names, family_names y born_on; las jurídicas (morales), legal_name y trade_name.
    .remedy = Omita el campo o corrija el tipo.
problem-unknown_identifier = Tipo de identificador desconocido
    .detail = Este tipo de persona tiene aquí estos tipos de identificador: { $known }.
    .remedy = Use uno de ellos.
problem-identifier_form = Identificador mal formado
    .detail = No tiene la forma del identificador { $type }.
    .remedy = Verifique el identificador con la persona o en su documento.
problem-email_form = No es una dirección de correo electrónico
    .detail = Esto no es una dirección de correo electrónico.
    .remedy = Envíe una dirección como nombre@example.com.
problem-phone_form = No es un número de teléfono
    .detail = Esto no es un número de teléfono en el formato E.164.
    .remedy = Envíe el signo más, el código de país y el número, solo dígitos: +525512345678.
problem-birth_date = No es una fecha de nacimiento
    .detail = La fecha es anterior a 1900 o futura.
    .remedy = Corrija la fecha.
problem-import_empty = Nada que importar
    .detail = El archivo no tiene líneas después del encabezado.
    .remedy = Envíe un encabezado y al menos una línea.
problem-import_columns = Columnas inesperadas
    .detail = El encabezado no se puede leer como UTF-8, carece de una columna obligatoria o nombra una columna desconocida o repetida. No se importó nada.
    .remedy = Corrija el encabezado; errors nombra las columnas.
problem-import_too_long = Demasiadas líneas
    .detail = Una importación admite como máximo { $limit } líneas. No se importó nada.
    .remedy = Divida el archivo; cada parte necesita el encabezado.
problem-line_encoding = Línea sin UTF-8
    .detail = La línea no es UTF-8.
    .remedy = Guarde el archivo como UTF-8.
problem-line_quotes = Comillas incorrectas
    .detail = Una comilla no se cierra o está dentro de un campo sin comillas.
    .remedy = Ponga todo el campo entre comillas y duplique las interiores; un campo no tiene saltos de línea.
problem-line_fields = Número de campos incorrecto
    .detail = La línea tiene { $found } campos y el encabezado { $expected }.
    .remedy = Ponga entre comillas los campos que contienen una coma; no omita ninguno.
problem-party_differs = Parte conocida con otro contenido
    .detail = Hay una parte con este external_id y otro contenido. Se dejó como está.
    .remedy = Cambie la parte con PATCH /v1/parties/…, o corrija la línea.

## accounts

problem-account_external_id_taken = Id externo ocupado
    .detail = Otra cuenta de este ambiente tiene este external_id.
    .remedy = Use otro, o lea la cuenta que lo tiene.
problem-account_party_unknown = Persona desconocida
    .detail = Ninguna persona de este ambiente tiene este id.
    .remedy = Cree primero la persona, o corrija el id.
problem-currency_not_offered = Otra moneda
    .detail = Los libros de este ambiente están en { $currency }.
    .remedy = Indique esa moneda, o ninguna.
problem-account_state = Estado equivocado
    .detail = La cuenta está { $state ->
        [open] abierta
        [frozen] congelada
       *[closed] cerrada
    }.
    .remedy = Lea la cuenta y pida lo que su estado permite. Una cuenta cerrada queda cerrada.
problem-account_not_empty = Cuenta no vacía
    .detail = La cuenta tiene un saldo de { $balance } y retenciones de { $held }.
    .remedy = Mueva el saldo a otra cuenta, y capture o anule las retenciones.
problem-not_a_customers_account = No es cuenta de cliente
    .detail = La cuenta es propia de la institución; solo se bloquean cuentas de clientes.
    .remedy = Indique la cuenta de un cliente.
problem-block_beneficiary = Beneficiaria no apta
    .detail = Lo que recibe un monto bloqueado es una cuenta interna abierta de este ambiente.
    .remedy = Abra una cuenta interna para órdenes ejecutadas, e indíquela.
problem-nothing_to_block = Nada que bloquear
    .detail = La cuenta tiene { $available } disponibles.
    .remedy = Congele la cuenta, o repita la orden con otra clave cuando haya entrado dinero.
problem-block_ended = Bloqueo terminado
    .detail = El bloqueo ya se liberó.
    .remedy = Consulte la retención, y ordene un bloqueo nuevo si hace falta.
problem-block_refused = Bloqueo rechazado
    .detail = El libro mayor rechazó el bloqueo: { $reason }.
    .remedy = Consulte esa razón y repita la solicitud con otra clave.
problem-period_reversed = Periodo invertido
    .detail = El periodo termina antes de empezar.
    .remedy = Intercambie from_on y to_on.
problem-period_too_long = Periodo demasiado largo
    .detail = Un estado de cuenta abarca como máximo { $days } días.
    .remedy = Pida periodos más cortos, uno tras otro.
problem-period_in_future = Periodo en el futuro
    .detail = Hoy es { $today }.
    .remedy = Haga que el periodo termine hoy o antes.
problem-not_acceptable = Ninguna forma aceptable
    .detail = No hay respuesta en una forma que el encabezado Accept nombre.
    .remedy = Acepte una de { $forms }.

## payments

problem-preview_unknown = Vista previa desconocida
    .detail = No se le mostró ninguna vista previa con este id.
    .remedy = Cree una con POST /v1/payment-previews.
problem-preview_expired = Vista previa vencida
    .detail = El plazo de la vista previa ha terminado.
    .remedy = Cree una nueva con POST /v1/payment-previews y muéstrela a quien paga.
problem-preview_used = Vista previa usada
    .detail = La vista previa se convirtió en el pago { $payment }.
    .remedy = Consulte ese pago; para pagar otra vez, cree una vista previa nueva.
problem-payment_external_id_taken = external_id en uso
    .detail = Otro pago de este ambiente tiene este external_id.
    .remedy = Búsquelo con GET /v1/payments?external_id=…, o elija otro.
problem-payment_account_internal = No es la cuenta de un cliente
    .detail = La cuenta es de la propia institución; los pagos van entre cuentas de clientes.
    .remedy = Use POST /v1/transfers para las cuentas de la institución.
