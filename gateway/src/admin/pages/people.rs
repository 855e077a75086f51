//! `/admin/people`.

use super::{Desk, PageResult, counted, in_url};
use crate::admin::failure::Failure;
use crate::operator_api::{
    AccountToUnlink, DemoteUser, DisableUser, EnableUser, ListUsers, NamedUser, PasskeyToRemove,
    PromoteUser, RemovePasskey, UnlinkUser, UserView,
};
use gateway_oauth::owner::OwnerPress;
use gateway_oauth::pages::admin::{LoginWay, Notice, PeoplePage, PersonRow, PressForm};

/// Between the parts of what a form is about. No login name, no provider's name and no credential id has
/// one in it, and browsers send it as it is: of a line break they make another.
const BETWEEN: &str = " ";

impl Desk<'_> {
    pub(super) async fn people(&self, notice: Option<Notice>) -> PageResult {
        let page = self.operator().read::<ListUsers>(&self.part()).await?;
        let people = page.users.iter().map(|user| self.person(user));
        Ok(PeoplePage {
            frame: self.visit.frame(),
            admin: self.frame(notice),
            people: people.collect(),
            next: self.next(page.next, &[]),
        }
        .page())
    }

    fn person(&self, user: &UserView) -> PersonRow {
        PersonRow {
            name: user.name.clone(),
            id: user.id.clone(),
            id_in_url: in_url(&user.id),
            is_owner: user.is_owner.unwrap_or_default(),
            disabled: user.disabled.clone(),
            created: user.created.clone(),
            ways: self.ways(user),
            forms: self.about_person(user),
        }
    }

    /// What somebody logs in with, each with what takes it away.
    fn ways(&self, user: &UserView) -> Vec<LoginWay> {
        let password = user.has_password.unwrap_or_default().then(|| LoginWay {
            words: "a password".to_owned(),
            form: None,
        });
        let accounts = user.accounts.iter().flatten().map(|account| {
            let called = account.address.as_deref().unwrap_or(&account.subject);
            let words = format!("{} as {called}", account.provider);
            let subject = [&user.name, &account.provider, &account.subject];
            let subject = subject.map(String::as_str).join(BETWEEN);
            let about = format!("{words}, of {}", user.name);
            let form = self.button("unlink", &subject, "Remove", &about, true);
            LoginWay {
                words,
                form: Some(form),
            }
        });
        let passkeys = user.passkeys.iter().flatten().map(|passkey| {
            let words = format!("the passkey “{}”", passkey.name);
            let subject = [user.name.as_str(), &passkey.id].join(BETWEEN);
            let about = format!("{words}, of {}", user.name);
            // One's own goes at /account/passkeys, which keeps the last way in.
            let may_go = !self.is_oneself(&user.name);
            let form =
                may_go.then(|| self.button("remove-passkey", &subject, "Remove", &about, true));
            LoginWay { words, form }
        });
        let own = password.into_iter().chain(passkeys);
        own.chain(accounts).collect()
    }

    fn about_person(&self, user: &UserView) -> Vec<PressForm> {
        let name = user.name.as_str();
        let button = |action, words, takes| self.button(action, name, words, name, takes);
        let mut forms = Vec::new();
        // Nobody locks themselves out by a slip; a command can.
        let is_oneself = self.is_oneself(name);
        match (&user.disabled, is_oneself) {
            (Some(_), _) => forms.push(button("enable", "Let in again", false)),
            (None, false) => forms.push(button("disable", "Keep out", true)),
            (None, true) => {}
        }
        match user.is_owner {
            Some(true) if !is_oneself && !user.owner_of_configuration => {
                forms.push(button("demote", "No owner any more", true));
            }
            Some(false) if user.disabled.is_none() => {
                forms.push(button("promote", "Make an owner", false));
            }
            _ => {}
        }
        forms
    }

    /// Whether it is the owner at this page.
    fn is_oneself(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.visit.user_name())
    }

    pub(super) async fn press_person(&self, press: &OwnerPress) -> Result<String, Failure> {
        // What a provider calls the account, which stands last, may have anything in it.
        let mut parts = press.subject.splitn(3, BETWEEN).map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let named = NamedUser { name: name.clone() };
        match press.action.as_str() {
            "disable" => {
                let done = self.operator().change::<DisableUser>(&named).await?;
                let revoked = counted(done.revoked.unwrap_or_default(), "grant");
                Ok(format!("{name} is kept out; revoked {revoked}."))
            }
            "enable" => {
                self.operator().change::<EnableUser>(&named).await?;
                Ok(format!("{name} may log in again."))
            }
            "promote" => {
                self.operator().change::<PromoteUser>(&named).await?;
                Ok(format!("{name} may open these pages now."))
            }
            "demote" => {
                self.operator().change::<DemoteUser>(&named).await?;
                Ok(format!("{name} may not open these pages any more."))
            }
            "remove-passkey" if self.is_oneself(&name) => {
                let sentence = "your own passkeys are removed at /account/passkeys";
                Err(self.malformed(sentence))
            }
            "remove-passkey" => {
                let passkey = parts.next().unwrap_or_default();
                let named = PasskeyToRemove {
                    name: name.clone(),
                    passkey,
                };
                self.operator().change::<RemovePasskey>(&named).await?;
                Ok(format!(
                    "{name} does not log in with that passkey any more."
                ))
            }
            "unlink" => {
                let provider = parts.next().unwrap_or_default();
                let words = format!("{name} does not log in with {provider} any more.");
                let account = AccountToUnlink {
                    name,
                    provider,
                    subject: parts.next(),
                };
                self.operator().change::<UnlinkUser>(&account).await?;
                Ok(words)
            }
            _ => Err(self.no_button()),
        }
    }
}
