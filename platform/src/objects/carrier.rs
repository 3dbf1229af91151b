//! Carries the requests of the S3 client over [`Egress`], so that one module makes all outbound connections.

use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;

use crate::egress::{Egress, EgressError};

/// The way to the store. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Carrier(pub(super) Egress);

impl HttpConnector for Carrier {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let egress = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap))
                .map_err(|error| ConnectorError::user(error.into()))?;
            let answer = egress.execute(request).await.map_err(failed)?;
            let answer = http::Response::<reqwest::Body>::from(answer);
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn failed(error: EgressError) -> ConnectorError {
    match error {
        EgressError::Timeout(_) => ConnectorError::timeout(error.into()),
        EgressError::Unreachable(_) | EgressError::Failed(_) => ConnectorError::io(error.into()),
        EgressError::Entry(_) | EgressError::Url(_) | EgressError::Denied { .. } | EgressError::Plain(_) => {
            ConnectorError::user(error.into())
        }
    }
}

impl HttpClient for Carrier {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
