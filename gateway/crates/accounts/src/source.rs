//! Accounts for what the gateway asks a backend by itself, such as its tools for the consent page.

use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;

use crate::account_error::AccountError;
use crate::accounts::{Accounts, Person};
use gateway_store::User;
use gateway_upstream::{Account as Handle, AccountSource, NoAccount};

impl AccountSource for Accounts {
    fn account<'a>(
        &'a self,
        backend: &'a str,
        user: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<Handle>, NoAccount>> + Send + 'a>> {
        Box::pin(async move {
            let known = self.user(user).await?;
            let account = self.credential(backend, person(&known)).await;
            account.map_err(no_account)?.ok_or_else(missing)
        })
    }

    fn refused<'a>(
        &'a self,
        backend: &'a str,
        user: &'a str,
        account: &'a Arc<Handle>,
        sent: &'a HeaderValue,
    ) -> Pin<Box<dyn Future<Output = Result<(), NoAccount>> + Send + 'a>> {
        Box::pin(async move {
            let known = self.user(user).await?;
            let refused = Accounts::refused(self, backend, person(&known), account, sent);
            refused.await.map_err(no_account)
        })
    }
}

impl Accounts {
    /// The person with this login name. A service of the configuration is none, and has no account.
    async fn user(&self, name: &str) -> Result<User, NoAccount> {
        let known = self.records.user(name, self.now()).await;
        let known = known.map_err(|error| NoAccount(error.to_string()))?;
        known.ok_or_else(missing)
    }
}

fn person(user: &User) -> Person<'_> {
    Person {
        id: &user.id,
        name: &user.name,
    }
}

fn missing() -> NoAccount {
    NoAccount("this person has no account there".to_owned())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it turns one error into another"
)]
fn no_account(error: AccountError) -> NoAccount {
    NoAccount(error.to_string())
}
