//! Routes of parties. Wire types derive no `Debug`: they hold personal data.

use std::sync::Arc;

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, NaiveDate, Utc};
use platform::{
    db::Db,
    http::{IfMatch, Json, Path, Query, tagged},
    idempotency::{Done, Keyed, Replayed},
    keys::Keys,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    problem::{Arg, Catalogue, Code, In, Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Deserializer, Serialize};
use tenants::{
    id::PartyId,
    jurisdiction::Country,
    profile::{Person, Profile},
};
use utoipa::{IntoParams, ToSchema};

use super::{Address, ContactChange, Draft, Error, Fault, Filter, Flaw, Identifier, Name, Party, import};
use crate::environments::Environments;

platform::scopes! {
    /// Read parties.
    PartiesRead = "parties:read";
    /// Make and change parties.
    PartiesWrite = "parties:write";
}

platform::problem_codes! {
    /// Another party of the environment has this `external_id`.
    PARTY_EXTERNAL_ID_TAKEN = 409 "party_external_id_taken";
    /// The party has another version than `If-Match` names.
    PARTY_CHANGED = 412 "party_changed";
    /// Of one field: longer, or more items, than allowed.
    TOO_LONG = 422 "too_long";
    /// Of one field: it belongs to the other kind of person.
    OTHER_PERSON = 422 "other_person";
    /// Of one field: the jurisdiction has no such identifier for this kind of person.
    UNKNOWN_IDENTIFIER = 422 "unknown_identifier";
    /// Of one field: not of the form of this identifier.
    IDENTIFIER_FORM = 422 "identifier_form";
    /// Of one field: no address of electronic mail.
    EMAIL_FORM = 422 "email_form";
    /// Of one field: no telephone number in the form of E.164.
    PHONE_FORM = 422 "phone_form";
    /// Of one field: before 1900 or in the future.
    BIRTH_DATE = 422 "birth_date";
    /// The file has no line besides its header.
    IMPORT_EMPTY = 422 "import_empty";
    /// The header of the file has other columns than an import takes, or cannot be read.
    IMPORT_COLUMNS = 422 "import_columns";
    /// The file has more lines than one import takes.
    IMPORT_TOO_LONG = 422 "import_too_long";
    /// Of one line: it is not UTF-8.
    LINE_ENCODING = 422 "line_encoding";
    /// Of one line: a quote is not closed, or stands inside a field.
    LINE_QUOTES = 422 "line_quotes";
    /// Of one line: it has another number of fields than the header.
    LINE_FIELDS = 422 "line_fields";
    /// Of one line: there is a party of this `external_id` with other content.
    PARTY_DIFFERS = 422 "party_differs";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Arc<Keys>: FromRef<S>,
    Arc<Catalogue>: FromRef<S>,
    Environments: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(party_create, &PARTY_EXTERNAL_ID_TAKEN, &codes::STORAGE_FULL))
        .routes(operation!(party_list, &codes::INVALID_CURSOR))
        .routes(operation!(party_get, &codes::NOT_FOUND))
        .routes(operation!(party_update, &codes::NOT_FOUND, &PARTY_CHANGED, &codes::STORAGE_FULL))
        .merge(import::http::router())
}

/// An identifier of a party.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PartyIdentifier)]
struct WireIdentifier {
    /// A code of the jurisdiction's profile.
    #[schema(example = "CURP")]
    r#type: String,
    /// Kept and shown in its normal spelling: capitals, without spaces, dots, hyphens and slashes.
    #[schema(example = "GOGL900131MDFRRN09")]
    value: String,
}

/// Where a party lives or sits.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PartyAddress)]
struct WireAddress {
    /// Street, number, neighbourhood.
    #[schema(min_items = 1, max_items = 4)]
    lines: Vec<String>,
    /// City or municipality.
    city: String,
    /// State or department.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    postal_code: Option<String>,
    /// ISO 3166-1, two capitals.
    #[schema(value_type = String, example = "MX")]
    country: Country,
}

impl From<WireAddress> for Address {
    fn from(WireAddress { lines, city, region, postal_code, country }: WireAddress) -> Self {
        Self { lines, city, region, postal_code, country }
    }
}
impl From<Address> for WireAddress {
    fn from(Address { lines, city, region, postal_code, country }: Address) -> Self {
        Self { lines, city, region, postal_code, country }
    }
}

/// A party to be made. Natural persons have given and family names, legal persons a legal name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PartyNew, example = json!({
    "type": "natural", "external_id": "customer-1", "given_names": "Ana Lucía", "family_names": "García López",
    "born_on": "1990-01-31", "identifiers": [{"type": "CURP", "value": "GOGL900131MDFRRN09"}],
    "email": "ana@example.mx", "phone": "+525512345678"
}))]
struct New {
    r#type: Person,
    /// Your own id; used once per environment. Not sealed: no personal data.
    #[schema(min_length = 1, max_length = 100)]
    external_id: Option<String>,
    #[schema(min_length = 1, max_length = 140)]
    given_names: Option<String>,
    #[schema(min_length = 1, max_length = 140)]
    family_names: Option<String>,
    #[schema(min_length = 1, max_length = 140)]
    legal_name: Option<String>,
    #[schema(min_length = 1, max_length = 140)]
    trade_name: Option<String>,
    /// Birthday of a natural person.
    born_on: Option<NaiveDate>,
    /// At most one of each type.
    #[serde(default)]
    #[schema(max_items = 8)]
    identifiers: Vec<WireIdentifier>,
    email: Option<String>,
    /// E.164: `+`, country code, number.
    phone: Option<String>,
    address: Option<WireAddress>,
}

impl From<New> for Draft {
    fn from(new: New) -> Self {
        Self {
            person: Some(new.r#type),
            external_id: new.external_id,
            given_names: new.given_names,
            family_names: new.family_names,
            legal_name: new.legal_name,
            trade_name: new.trade_name,
            born_on: new.born_on,
            identifiers: new.identifiers.into_iter().map(|one| (one.r#type, one.value)).collect(),
            email: new.email,
            phone: new.phone,
            address: new.address.map(Into::into),
        }
    }
}

/// A natural or legal person that the tenant serves.
#[derive(Serialize, ToSchema)]
#[schema(as = Party)]
pub struct Wire {
    #[schema(example = "pty_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    pub(super) id: PartyId,
    r#type: Person,
    external_id: Option<String>,
    /// The name as one text.
    display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    given_names: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family_names: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trade_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    born_on: Option<NaiveDate>,
    identifiers: Vec<WireIdentifier>,
    email: Option<String>,
    phone: Option<String>,
    address: Option<WireAddress>,
    /// Counts the party's changes; also its `ETag`.
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Party> for Wire {
    fn from(party: Party) -> Self {
        let known = party.particulars;
        let (r#type, display_name) = (known.name.person(), known.name.display());
        let (mut given_names, mut family_names, mut legal_name, mut trade_name) = (None, None, None, None);
        match known.name {
            Name::Natural { given_names: given, family_names: family } => {
                (given_names, family_names) = (Some(given), Some(family));
            }
            Name::Legal { legal_name: legal, trade_name: trade } => {
                (legal_name, trade_name) = (Some(legal), trade);
            }
        }
        let identifier = |one: Identifier| WireIdentifier { r#type: one.code, value: one.value };
        Self {
            id: party.id,
            r#type,
            external_id: known.external_id,
            display_name,
            given_names,
            family_names,
            legal_name,
            trade_name,
            born_on: known.born_on,
            identifiers: known.identifiers.into_iter().map(identifier).collect(),
            email: known.email,
            phone: known.phone,
            address: known.address.map(Into::into),
            version: party.version,
            created_at: party.created_at,
            updated_at: party.updated_at,
        }
    }
}

/// The party with its `ETag`.
fn answer(status: StatusCode, done: Done<Party>) -> Response {
    let Done { what: party, replayed } = done;
    let response = tagged(party.version, (status, Json(Wire::from(party))));
    Replayed::when(replayed, response)
}

/// Makes a party.
#[utoipa::path(post, path = "/v1/parties", operation_id = "party_create", tag = "parties", request_body = New,
    responses((status = 201, description = "The party", body = Wire)))]
async fn party_create(
    ctx: Authorized<PartiesWrite>,
    State(db): State<Db>,
    State(keys): State<Arc<Keys>>,
    State(environments): State<Environments>,
    Keyed { key, body }: Keyed<New>,
) -> Result<Response, Problem> {
    let profile = environments.of_ctx(&ctx)?.profile;
    let done = super::create(&db, &keys, &ctx, profile, &key, &body.into()).await?;
    Ok(answer(StatusCode::CREATED, done))
}

/// Reads a party.
#[utoipa::path(get, path = "/v1/parties/{id}", operation_id = "party_get", tag = "parties",
    params(("id" = PartyId, Path, description = "The party")),
    responses((status = 200, description = "The party", body = Wire)))]
async fn party_get(
    ctx: Authorized<PartiesRead>,
    State(db): State<Db>,
    State(keys): State<Arc<Keys>>,
    Path(id): Path<PartyId>,
) -> Result<Response, Problem> {
    let party = super::get(&db, &keys, ctx.scope, id).await?;
    Ok(answer(StatusCode::OK, Done { what: party, replayed: false }))
}

const LIST: &str = "parties";

/// Which parties to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// The one with this id of yours.
    external_id: Option<String>,
    /// Those with this identifier, `TYPE:value`, in any spelling.
    #[param(example = "CURP:GOGL900131MDFRRN09")]
    identifier: Option<String>,
    /// Those with this address of electronic mail, in any case of letters.
    email: Option<String>,
    /// Those with this telephone number; `+` is written `%2B` in a URL.
    phone: Option<String>,
    /// Those made at or after this instant.
    created_from_at: Option<DateTime<Utc>>,
    /// Those made before this instant.
    created_until_at: Option<DateTime<Utc>>,
}

/// The identifier that `TYPE:value` means in this jurisdiction.
fn identifier(profile: &Profile, text: &str) -> Option<Identifier> {
    let (code, value) = text.split_once(':')?;
    let mut known = profile.identifiers.iter().filter(|known| known.code == code);
    let value = known.find_map(|known| known.normal(value))?;
    Some(Identifier { code: code.to_owned(), value })
}

/// Lists parties, the oldest first. Personal data is found by equality only.
#[utoipa::path(get, path = "/v1/parties", operation_id = "party_list", tag = "parties", params(Which),
    responses((status = 200, description = "A page of parties", body = Page<Wire>)))]
async fn party_list(
    ctx: Authorized<PartiesRead>,
    State(db): State<Db>,
    State(keys): State<Arc<Keys>>,
    State(environments): State<Environments>,
    Query(which): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    let profile = environments.of_ctx(&ctx)?.profile;
    let identifier = match which.identifier {
        Some(text) => Some(identifier(profile, &text).ok_or_else(|| {
            let problem = Problem::new(&codes::INVALID_PARAMETER);
            problem.parameter(In::Query, "identifier", &codes::INVALID_VALUE)
        })?),
        None => None,
    };
    let filter = Filter {
        after: which.cursor.map(|cursor| cursor.key(LIST)).transpose()?,
        external_id: which.external_id,
        identifier,
        email: which.email,
        phone: which.phone,
        from: which.created_from_at,
        until: which.created_until_at,
    };
    let parties = super::list(&db, &keys, ctx.scope, &filter, which.limit.rows()).await?;
    Ok(Json(Page::of(LIST, parties, which.limit, |party| party.id).map(Wire::from)))
}

/// What may be changed of a party: a field that is absent stays, null removes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PartyChange, example = json!({"email": "ana.garcia@example.mx", "address": null}))]
struct Change {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    phone: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<WireAddress>)]
    address: Option<Option<WireAddress>>,
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes a party's contacts.
#[utoipa::path(patch, path = "/v1/parties/{id}", operation_id = "party_update", tag = "parties",
    params(("id" = PartyId, Path, description = "The party")), request_body = Change,
    responses((status = 200, description = "The party after the change", body = Wire)))]
async fn party_update(
    ctx: Authorized<PartiesWrite>,
    State(db): State<Db>,
    State(keys): State<Arc<Keys>>,
    Path(id): Path<PartyId>,
    seen: IfMatch,
    Keyed { key, body }: Keyed<Change>,
) -> Result<Response, Problem> {
    let change = ContactChange {
        email: body.email,
        phone: body.phone,
        address: body.address.map(|address| address.map(Into::into)),
    };
    let admits = |version| seen.admits(version);
    let done = super::change_contacts(&db, &keys, &ctx, &key, id, admits, &change).await?;
    Ok(answer(StatusCode::OK, done))
}

/// A code and what its texts mention.
pub(super) type Named = (&'static Code, Vec<(&'static str, Arg)>);

/// What a fault of a field is on the wire.
pub(super) fn flaw(flaw: Flaw) -> Named {
    match flaw {
        Flaw::Missing => (&codes::MISSING, vec![]),
        Flaw::Malformed => (&codes::INVALID_VALUE, vec![]),
        Flaw::Twice => (&codes::DUPLICATE, vec![]),
        Flaw::TooLong(limit) => (&TOO_LONG, vec![("limit", limit.into())]),
        Flaw::OtherPerson => (&OTHER_PERSON, vec![]),
        Flaw::UnknownIdentifier(known) => (&UNKNOWN_IDENTIFIER, vec![("known", known.into())]),
        Flaw::IdentifierForm(code) => (&IDENTIFIER_FORM, vec![("type", code.into())]),
        Flaw::Email => (&EMAIL_FORM, vec![]),
        Flaw::Phone => (&PHONE_FORM, vec![]),
        Flaw::BirthDate => (&BIRTH_DATE, vec![]),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(faults) => faults.into_iter().fold(
                Problem::new(&codes::INVALID_FIELD),
                |problem, Fault { field, flaw: what }| {
                    let (code, args) = flaw(what);
                    match args.into_iter().next() {
                        Some((name, value)) => problem.at_with(field, code, name, value),
                        None => problem.at(field, code),
                    }
                },
            ),
            Error::ExternalIdTaken => {
                Problem::new(&PARTY_EXTERNAL_ID_TAKEN).at("/external_id", &PARTY_EXTERNAL_ID_TAKEN)
            }
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Changed => Problem::new(&PARTY_CHANGED),
            Error::Keys(error) => Problem::internal(error),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
