//! Accounts for what the gateway asks a backend by itself, such as its tools for the consent page.

use std::sync::Arc;

use http::HeaderValue;

use crate::account_error::AccountError;
use crate::accounts::{Accounts, Person};
use gateway_store::User;
use gateway_upstream::{Account as Handle, AccountFuture, AccountSource, NoAccount};

impl AccountSource for Accounts {
    fn account<'a>(
        &'a self,
        backend: &'a str,
        user: &'a str,
    ) -> AccountFuture<'a, Option<Arc<Handle>>> {
        Box::pin(async move {
            let Some(known) = self.user(user).await? else {
                let settings = self.settings(backend);
                let is_optional = settings.is_none_or(|settings| settings.optional);
                return if is_optional {
                    Ok(None)
                } else {
                    Err(missing())
                };
            };
            Ok(self.credential(backend, person(&known)).await?)
        })
    }

    fn refused<'a>(
        &'a self,
        backend: &'a str,
        user: &'a str,
        account: &'a Arc<Handle>,
        sent: &'a HeaderValue,
    ) -> AccountFuture<'a, ()> {
        Box::pin(async move {
            let known = self.user(user).await?.ok_or_else(missing)?;
            Ok(Accounts::refused(self, backend, person(&known), account, sent).await?)
        })
    }
}

impl Accounts {
    /// The person with this login name. A service of the configuration is none, and has no account.
    async fn user(&self, name: &str) -> Result<Option<User>, NoAccount> {
        let known = self.records.user(name, self.now()).await;
        Ok(known.map_err(AccountError::from)?)
    }
}

fn person(user: &User) -> Person<'_> {
    Person {
        id: &user.id,
        name: &user.name,
    }
}

fn missing() -> NoAccount {
    NoAccount::not_connected("this person has no account there")
}

impl From<AccountError> for NoAccount {
    fn from(error: AccountError) -> Self {
        let (reason, detail) = (error.reason(), error.to_string());
        if error.is_for_person() {
            Self::Missing(reason, detail)
        } else {
            Self::Unavailable(reason, detail)
        }
    }
}
