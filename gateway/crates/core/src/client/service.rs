//! What a client of the configuration may do without a person: it acts as a *service*, which is named and
//! put into groups like a person and can't log in. Pure: what is configured and what is asked go in.

use std::collections::BTreeSet;

use crate::grants::{Tools, UserId};
use crate::policy::Scopes;
use crate::protocol::resource::Mount;
use crate::protocol::scope::{NarrowError, Scope};

/// What begins the id of a service, where people have `u_`.
const PREFIX: &str = "s_";

impl UserId {
    /// The id of a service of this name.
    pub fn of_service(name: &str) -> Self {
        Self::new(format!("{PREFIX}{name}"))
    }

    /// Whether it is a service's.
    pub fn is_service(&self) -> bool {
        self.as_str().starts_with(PREFIX)
    }
}

/// What a client may get for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceClient {
    /// The service in whose name it calls.
    pub service: String,
    /// The backends that it may use; all, where there is none.
    pub backends: BTreeSet<String>,
    /// The tools that it may use.
    pub tools: Tools,
    /// The most scope that it may have; what a client gets that asks for nothing, where there is none.
    pub scope: Option<Scope>,
}

/// Why it gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceRefusal {
    /// It may use several backends, and names none.
    #[error("The parameter resource must name one of the backends that this client may use.")]
    ResourceNeeded,
    /// It names one that it may not use.
    #[error("This client may not use that resource.")]
    ResourceNotAllowed,
    /// It asks for more than it may have.
    #[error("{0}")]
    Scope(NarrowError),
}

impl ServiceClient {
    /// The backend that it gets access to. `named`: the one that it asks for.
    pub fn mount<'a>(
        &self,
        named: Option<&'a Mount>,
        mounts: &'a [Mount],
    ) -> Result<&'a Mount, ServiceRefusal> {
        let may_use =
            |mount: &&Mount| self.backends.is_empty() || self.backends.contains(&mount.name);
        if let Some(named) = named {
            return Some(named)
                .filter(may_use)
                .ok_or(ServiceRefusal::ResourceNotAllowed);
        }
        let mut usable = mounts.iter().filter(may_use);
        match (usable.next(), usable.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(ServiceRefusal::ResourceNeeded),
        }
    }

    /// The scope that it gets at a backend with these scopes.
    pub fn granted(
        &self,
        scopes: &Scopes,
        requested: Option<&str>,
    ) -> Result<Scope, ServiceRefusal> {
        let most = match &self.scope {
            Some(scope) => scope.intersection(&scopes.supported()),
            None => scopes.defaults(),
        };
        let granted = scopes.narrowed(&most, requested);
        Ok(granted.map_err(ServiceRefusal::Scope)?.for_resource())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ScopeRule, ScopeTable};

    fn mount(name: &str) -> Mount {
        Mount {
            name: name.to_owned(),
            prefix: format!("/{name}"),
        }
    }

    fn client(backends: &[&str], scope: Option<&str>) -> ServiceClient {
        ServiceClient {
            service: "ci".to_owned(),
            backends: backends.iter().map(|&name| name.to_owned()).collect(),
            tools: Tools::All,
            scope: scope.map(Scope::parse),
        }
    }

    #[test]
    fn a_service_is_no_person_and_no_person_a_service() {
        assert!(UserId::of_service("ci").is_service());
        assert!(!UserId::looks_like(UserId::of_service("ci").as_str()));
        assert!(!UserId::new("u_1").is_service());
    }

    #[test]
    fn the_backend_is_the_one_that_is_named_or_the_only_one() {
        let mounts = [mount("a"), mount("b")];
        let [a, b] = &mounts;
        let one = client(&["a"], None);
        assert_eq!(one.mount(None, &mounts), Ok(a));
        assert_eq!(one.mount(Some(a), &mounts), Ok(a));
        let other = one.mount(Some(b), &mounts);
        assert_eq!(other, Err(ServiceRefusal::ResourceNotAllowed));
        let all = client(&[], None);
        assert_eq!(all.mount(Some(b), &mounts), Ok(b));
        assert_eq!(
            all.mount(None, &mounts),
            Err(ServiceRefusal::ResourceNeeded)
        );
        assert_eq!(all.mount(None, &mounts[..1]), Ok(a));
        let gone = client(&["c"], None).mount(None, &mounts);
        assert_eq!(gone, Err(ServiceRefusal::ResourceNeeded));
    }

    #[test]
    fn the_scope_is_what_is_configured_or_less() {
        let rules = [
            ScopeRule {
                is_default: true,
                ..ScopeRule::named("read", "Read")
            },
            ScopeRule::named("write", "Write"),
        ];
        let table = ScopeTable::new(&rules, ["a"]).unwrap();
        let scopes = table.at("a");
        let granted = |client: &ServiceClient, asked| client.granted(scopes, asked);
        let scope = |text| Ok(Scope::parse(text));
        assert_eq!(granted(&client(&[], None), None), scope("read"));
        let both = client(&[], Some("read write gone"));
        assert_eq!(granted(&both, None), scope("read write"));
        assert_eq!(granted(&both, Some("write")), scope("write"));
        let wider = Err(ServiceRefusal::Scope(NarrowError::Wider));
        assert_eq!(granted(&client(&[], Some("read")), Some("write")), wider);
        assert_eq!(granted(&client(&[], None), Some("write")), wider);
        // What nobody knows here says nothing (RFC 6749 §3.3).
        assert_eq!(granted(&both, Some("openid")), scope("read write"));
    }
}
