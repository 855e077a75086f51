//! From an endpoint to the file that answers, and what every endpoint has in common: how much of a
//! body is read, OPTIONS, a method that is not taken, CORS, the audit log.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CONTENT_LENGTH,
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::endpoint::{Caller, Endpoint, MatchedEndpoint, Subject};
use crate::error_page::Refused;
use crate::pages::Goal;
use crate::server::AuthorizationServer;
use crate::{
    account, audit_log, audited, authorize, backend_page, connect, device, discovery, home,
    introspect, login, metadata, owner, provider, register, rescue, revoke, session, setup, token,
};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_metrics::Decision;

impl AuthorizationServer {
    /// The largest body that is read of a request whose head is known, in bytes. The session is looked
    /// for only where more than anybody may send is on its way.
    pub async fn body_limit(&self, endpoint: Endpoint, request: &Request) -> usize {
        let (usual, long) = (endpoint.body_limit(), endpoint.body_limit_of_user());
        let declared = request.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.trim().parse().ok());
        let is_long = declared.is_some_and(|length: usize| length > usual);
        if long == usual || !is_long {
            return usual;
        }
        match session::current_session(self.ways_in(), &self.records, request, self.clock.now())
            .await
        {
            Ok(None) => usual,
            // A fault is answered as one, after the body.
            Ok(Some(_)) | Err(_) => long,
        }
    }

    /// Answers a request to one of the endpoints. Never fails: a fault is an answer, too.
    pub async fn answer(&self, matched: MatchedEndpoint, request: &Request) -> Response {
        // Boxed: the futures of all endpoints in one would be a stack of its own for every request.
        Box::pin(answer(self, matched, request)).await
    }
}

/// One answer from one endpoint. HEAD is answered like GET: the connection leaves the body out, and
/// knows its length (RFC 9110 §9.3.2).
async fn answer(
    server: &AuthorizationServer,
    matched: MatchedEndpoint,
    request: &Request,
) -> Response {
    let endpoint = matched.endpoint;
    let unaudited = Decision::refused(Some(Reason::AuditUnavailable), true);
    let (response, decision) = if request.method == Method::OPTIONS {
        let response = web::empty(StatusCode::NO_CONTENT);
        let response = web::with_header(response, ALLOW, &endpoint.allow());
        (response, Decision::ALLOWED)
    } else if !endpoint.takes(&request.method) {
        let decision = Decision::refused(Some(Reason::MethodNotAllowed), false);
        (method_not_allowed(endpoint, request), decision)
    } else if let Some(unready) =
        audit_log::unready(&server.settings, &server.journal, endpoint, request)
    {
        (unready, unaudited)
    } else {
        let answered = dispatch(server, &matched, request, server.clock.now()).await;
        let response = answered.unwrap_or_else(|refused| refused.page(&server.settings, request));
        let decision = audited::decision(&response);
        let is_fault = response.status().is_server_error();
        let response = audit_log::entered(
            &server.settings,
            &server.journal,
            endpoint,
            request,
            response,
        )
        .await;
        let has_become_fault = !is_fault && response.status().is_server_error();
        (
            response,
            if has_become_fault {
                unaudited
            } else {
                decision
            },
        )
    };
    let labels = [&endpoint.name(), "", decision.outcome(), decision.reason()];
    server.metrics.requests.with(labels).increment();
    match endpoint.caller() {
        Caller::App => cross_origin(response, endpoint, request),
        Caller::Person | Caller::Server => response,
    }
}

/// One match from endpoint to file; what belongs together goes on in a function of its own.
async fn dispatch(
    server: &AuthorizationServer,
    matched: &MatchedEndpoint,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let submitted = request.method == Method::POST;
    Ok(match matched.endpoint {
        Endpoint::Health => web::text(StatusCode::OK, "ok\n"),
        Endpoint::Home => home::page(server, request, now).await,
        Endpoint::Asset => home::asset(request),
        Endpoint::Authorize => authorize::answer(server, request, now).await?,
        Endpoint::Login if submitted => login::submit(server, request, now).await?,
        Endpoint::Login => login::page(server.login_form(), request, Goal::Start).await?,
        Endpoint::ProviderLogin
        | Endpoint::ProviderCallback
        | Endpoint::ProviderKeys
        | Endpoint::ProviderLogout => {
            provider::answer(server, matched.endpoint, request, now).await
        }
        Endpoint::Logout => login::logout(server.login_form(), request, now).await?,
        Endpoint::Consent => authorize::answer_consent(server, request, now).await?,
        Endpoint::Setup if submitted => setup::submit(server, request, now).await?,
        Endpoint::Setup => setup::page(server, request, now).await?,
        Endpoint::Rescue if submitted => rescue::submit(server, request, now).await?,
        Endpoint::Rescue => rescue::page(server, request, now).await?,
        Endpoint::Account
        | Endpoint::AccountRevoke
        | Endpoint::AccountApprove
        | Endpoint::AccountUnlink
        | Endpoint::AccountReadmit
        | Endpoint::AccountDisconnect
        | Endpoint::AccountPasskeys
        | Endpoint::AccountPasskeysAdd
        | Endpoint::AccountPasskeysRemove
        | Endpoint::AccountPasswordRemove
        | Endpoint::AccountTokens
        | Endpoint::AccountTokensNew
        | Endpoint::AccountTokensRevoke => {
            dispatch_account(server, matched.endpoint, request, now).await?
        }
        Endpoint::ConnectCallback => connect::callback(server, request, now).await,
        Endpoint::Connect => authorize::answer_connect(server, request, now).await?,
        Endpoint::Admin => owner::answer(server, request, now).await?,
        Endpoint::BackendPage => match &matched.subject {
            Some(subject) => backend_page::page(server, subject, request, now).await?,
            None => discovery::absent(),
        },
        Endpoint::Token => token::answer(server, request, now).await,
        Endpoint::DeviceAuthorization => device::ask(server, request, now).await,
        Endpoint::Device if submitted => device::submit(server, request, now).await?,
        Endpoint::Device => device::page(&server.settings, request),
        Endpoint::Register => register::answer(server, request, now).await,
        Endpoint::Revoke => revoke::answer(server, request, now).await,
        Endpoint::Introspect => introspect::answer(server, request, now).await,
        Endpoint::AuthorizationServerMetadata
        | Endpoint::ProtectedResourceMetadata
        | Endpoint::Manifest
        | Endpoint::WellKnownServerCard
        | Endpoint::ServerCard
        | Endpoint::WebKeys
        | Endpoint::AppsChallenge
        | Endpoint::SecurityTxt
        | Endpoint::ConnectDocument
        | Endpoint::ConnectKeys
        | Endpoint::Robots
        | Endpoint::Llms
        | Endpoint::Favicon
        | Endpoint::Absent => dispatch_document(server, matched, request, now),
    })
}

/// `/account` and below.
async fn dispatch_account(
    server: &AuthorizationServer,
    endpoint: Endpoint,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let submitted = request.method == Method::POST;
    match endpoint {
        Endpoint::Account => account::page(server, request, now).await,
        Endpoint::AccountRevoke if submitted => account::revoke(server, request, now).await,
        Endpoint::AccountApprove if submitted => account::approve(server, request, now).await,
        Endpoint::AccountUnlink if submitted => account::unlink(server, request, now).await,
        Endpoint::AccountReadmit if submitted => account::readmit(server, request, now).await,
        Endpoint::AccountDisconnect if submitted => account::disconnect(server, request, now).await,
        Endpoint::AccountPasskeys => account::passkeys::page(server, request, now).await,
        Endpoint::AccountPasskeysAdd if submitted => {
            account::passkeys::add(server, request, now).await
        }
        Endpoint::AccountPasskeysRemove if submitted => {
            account::passkeys::remove(server, request, now).await
        }
        Endpoint::AccountPasswordRemove if submitted => {
            account::passkeys::remove_password(server, request, now).await
        }
        Endpoint::AccountTokens => account::tokens(server, request, now).await,
        Endpoint::AccountTokensNew if submitted => account::make_token(server, request, now).await,
        Endpoint::AccountTokensNew => account::new_token(server, request, now).await,
        Endpoint::AccountTokensRevoke if submitted => {
            account::revoke_token(server, request, now).await
        }
        // Reloaded from the address bar after a button was pressed: back to the button's page.
        Endpoint::AccountPasskeysAdd
        | Endpoint::AccountPasskeysRemove
        | Endpoint::AccountPasswordRemove => Ok(web::see_other(Endpoint::AccountPasskeys.path())),
        Endpoint::AccountTokensRevoke => Ok(web::see_other(Endpoint::AccountTokens.path())),
        _ => Ok(web::see_other(Endpoint::Account.path())),
    }
}

/// What is published for programs and browsers, about the gateway or one of its backends.
fn dispatch_document(
    server: &AuthorizationServer,
    matched: &MatchedEndpoint,
    request: &Request,
    now: Timestamp,
) -> Response {
    let settings = &server.settings;
    let about = |document: &dyn Fn(&Subject) -> Response| {
        let subject = matched.subject.as_ref();
        subject.map_or_else(discovery::absent, document)
    };
    match matched.endpoint {
        Endpoint::AuthorizationServerMetadata => metadata::authorization_server(
            &server.settings,
            &server.providers,
            server.documents.as_ref(),
            request,
        ),
        Endpoint::ProtectedResourceMetadata => about(&|subject| {
            let mount = &subject.mount.name;
            metadata::protected_resource(&server.settings, request, &subject.path, mount)
        }),
        Endpoint::Manifest => discovery::manifest(&server.settings, request),
        Endpoint::WellKnownServerCard => about(&|subject| {
            discovery::well_known_server_card(&server.settings, request, &subject.mount)
        }),
        Endpoint::ServerCard => {
            about(&|subject| discovery::server_card(&server.settings, request, &subject.mount))
        }
        Endpoint::WebKeys => discovery::web_keys(&server.settings, &server.keys, request),
        Endpoint::AppsChallenge => match &settings.apps_challenge {
            Some(token) => discovery::apps_challenge(request, token),
            None => discovery::absent(),
        },
        Endpoint::SecurityTxt => match &settings.security_contact {
            Some(contact) => discovery::security_txt(&settings.issuer, request, contact, now),
            None => discovery::absent(),
        },
        Endpoint::ConnectDocument => connect::document(&server.accounts, &server.settings, request),
        Endpoint::ConnectKeys => connect::keys(&server.accounts, request),
        Endpoint::Robots => discovery::robots(request),
        Endpoint::Llms => discovery::llms(&server.settings, request),
        Endpoint::Favicon => discovery::favicon(request),
        _ => discovery::absent(),
    }
}

fn method_not_allowed(endpoint: Endpoint, request: &Request) -> Response {
    log::info!(
        event = "request_refused",
        reason = Reason::MethodNotAllowed,
        hint = Reason::MethodNotAllowed.remedy(),
        method = request.method.as_str(),
        path = request.path.as_str(),
        request_id = request.request_id.as_str();
        "the path does not take this method"
    );
    let body = json!({
        "error": Reason::MethodNotAllowed.code(),
        "error_description": Reason::MethodNotAllowed.sentence(),
    });
    let response = web::json(StatusCode::METHOD_NOT_ALLOWED, &body);
    web::with_header(response, ALLOW, &endpoint.allow())
}

/// Any origin, and no credentials: nothing here depends on a cookie.
fn cross_origin(response: Response, endpoint: Endpoint, request: &Request) -> Response {
    let response = web::with_header(response, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    if request.method != Method::OPTIONS {
        return web::with_header(
            response,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            "ETag, Retry-After, WWW-Authenticate",
        );
    }
    let response = web::with_header(response, ACCESS_CONTROL_ALLOW_METHODS, &endpoint.allow());
    let response = web::with_header(
        response,
        ACCESS_CONTROL_ALLOW_HEADERS,
        "Accept, Authorization, Content-Type, If-None-Match, Last-Event-ID, MCP-Protocol-Version, \
         Mcp-Method, Mcp-Name, Mcp-Session-Id",
    );
    web::with_header(response, ACCESS_CONTROL_MAX_AGE, "7200")
}
