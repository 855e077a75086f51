//! The refresh token, where the metadata offers one.

use super::examination::{Examination, Grant};
use super::session::{initialize_message, post};
use crate::check::Check;
use crate::checks::discovery::Endpoints;
use crate::checks::refresh::{self, Refreshed};
use crate::http_client::Ask;

impl Examination<'_> {
    /// As clients with parallel calls do it: exchange, use, exchange the same one again, go on with
    /// the new one.
    pub(super) async fn refresh(&mut self, endpoints: &Endpoints, grant: &Grant) {
        if !endpoints.refresh {
            self.findings.extend(refresh::nothing_offered());
            return;
        }
        self.found(refresh::refresh_token(grant.refresh_token.is_some()));
        let (Some(token), Some(url)) = (&grant.refresh_token, &endpoints.token) else {
            for check in [Check::Refresh, Check::RefreshRotation, Check::RefreshGrace] {
                self.found(check.after(Check::RefreshToken));
            }
            return;
        };
        let ask = |token: &str| {
            let fields = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("client_id", &grant.client_id),
            ];
            Ask::form(url, &fields)
        };
        let first = self.http.send(ask(token)).await;
        let call = match refresh::access_token(&first) {
            Some(token) => {
                let hello = post(&self.target.mcp, &initialize_message(50)).bearer(&token);
                Some(self.http.send(hello).await)
            }
            None => None,
        };
        let again = self.http.send(ask(token)).await;
        let next = match refresh::successor(&first) {
            Some(token) => Some(self.http.send(ask(&token)).await),
            None => None,
        };
        self.findings.extend(refresh::refreshed(&Refreshed {
            token,
            first: &first,
            call: call.as_ref(),
            again: Some(&again),
            next: next.as_ref(),
        }));
    }
}
