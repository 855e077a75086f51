//! Finding a client by its id: in the configuration, in the store, or in the metadata document
//! whose address the id is.

use crate::server::{AuthorizationServer, Settings};
use gateway_core::client::metadata_document::{self, DocumentError, DocumentUrl};
use gateway_core::client::{Client, ClientId, known_documents};
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_fetch::{Documents, FetchError, Unusable};
use gateway_store::{Records, StoreError};

/// Why there is no client.
#[derive(Debug)]
pub(super) enum NotFound {
    /// Nobody by this id, and why as far as it is known.
    Unknown(Reason, String),
    /// The store did not do what was asked.
    Fault(StoreError),
    /// Nothing could be asked, which is this machine's own matter and passes; and what was missing.
    NotNow(Reason, String),
}

/// The clients that there are.
#[derive(Clone, Copy)]
pub(super) struct Clients<'a> {
    /// Those of the configuration, and which documents are taken.
    pub(super) settings: &'a Settings,
    /// Those that registered themselves, and documents as they were when a person allowed them something.
    pub(super) records: &'a Records,
    /// Documents as they are now; `None`: they are switched off.
    pub(super) documents: Option<&'a Documents>,
}

impl AuthorizationServer {
    pub(super) const fn clients(&self) -> Clients<'_> {
        Clients {
            settings: &self.settings,
            records: &self.records,
            documents: self.documents.as_ref(),
        }
    }
}

impl Clients<'_> {
    /// The client of `id`.
    pub(super) async fn find(self, id: &ClientId, now: Timestamp) -> Result<Client, NotFound> {
        if let Some(client) = self.settings.clients.iter().find(|client| client.id == *id) {
            return Ok(client.clone());
        }
        match DocumentUrl::parse(id) {
            None => match self.records.client(id, now).await {
                Ok(Some(client)) => Ok(client),
                Ok(None) => Err(NotFound::Unknown(Reason::ClientUnknown, id.to_string())),
                Err(error) => Err(NotFound::Fault(error)),
            },
            Some(Err(error)) => Err(NotFound::Unknown(
                Reason::ClientDocumentInvalid,
                error.to_string(),
            )),
            Some(Ok(address)) => self.described(&address, now).await,
        }
    }

    /// The client as its document describes it; where that can't be had, as it was when a person last
    /// allowed it something, or as it is built in.
    async fn described(self, address: &DocumentUrl, now: Timestamp) -> Result<Client, NotFound> {
        let Some(documents) = self.documents else {
            return Err(NotFound::Unknown(
                Reason::ClientUnknown,
                "client metadata documents are switched off".to_owned(),
            ));
        };
        let hosts = &self.settings.document_hosts;
        if !hosts.is_empty() && !hosts.iter().any(|host| host == address.host()) {
            return Err(NotFound::Unknown(
                Reason::ClientDocumentHostNotAllowed,
                address.host().to_owned(),
            ));
        }
        let schemes = &self.settings.redirect_schemes;
        let judge = |document: &[u8]| metadata_document::judge(address, document, schemes, now);
        let unusable = match documents.get(address.url(), now, judge).await {
            Ok(client) => return Ok(client),
            Err(unusable) => unusable,
        };
        let reason = reason(&unusable);
        log::warn!(
            event = "client_document_unusable", reason, hint = reason.remedy(),
            client = address.id().as_str(); "{unusable}"
        );
        let last_allowed = self
            .records
            .client(address.id(), now)
            .await
            .map_err(NotFound::Fault)?;
        last_allowed
            .or_else(|| built_in(self.settings, address, now))
            .ok_or_else(|| match unusable {
                Unusable::Fetch(FetchError::NoFiles(_) | FetchError::Busy) => {
                    NotFound::NotNow(reason, unusable.to_string())
                }
                _ => NotFound::Unknown(reason, unusable.to_string()),
            })
    }
}

const fn reason(unusable: &Unusable<DocumentError>) -> Reason {
    match unusable {
        Unusable::Fetch(FetchError::NoFiles(_)) => Reason::OpenFilesExhausted,
        Unusable::Fetch(FetchError::Busy) => Reason::Overloaded,
        Unusable::Fetch(_) => Reason::ClientDocumentUnreachable,
        Unusable::Document(_) => Reason::ClientDocumentInvalid,
    }
}

/// The client as it is built in.
pub(super) fn built_in(
    settings: &Settings,
    address: &DocumentUrl,
    now: Timestamp,
) -> Option<Client> {
    let document = known_documents::document(address)?;
    let schemes = &settings.redirect_schemes;
    metadata_document::judge(address, &document, schemes, now).ok()
}
