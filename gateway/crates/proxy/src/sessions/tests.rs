use super::*;
use gateway_core::access_token::Tools;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};
use gateway_core::protocol::resource::Resource;
use gateway_core::protocol::scope::Scope;

fn claims(user: &str, client: &str) -> Claims {
    Claims {
        user: UserId::new(user),
        user_name: "alice".to_owned(),
        groups: Vec::new(),
        client: ClientId::new(client),
        grant: GrantId::new("g_1"),
        resource: Resource::from_token("https://h/mcp"),
        scope: Scope::parse("mcp"),
        tools: Tools::All,
        issued: Timestamp::from_secs(1),
        expires: Timestamp::from_secs(2),
    }
}

fn mount(name: &str) -> Mount {
    Mount {
        name: name.to_owned(),
        prefix: format!("/{name}"),
    }
}

fn holder<'a>(claims: &'a Claims, mount: &'a Mount) -> Holder<'a> {
    let account = None;
    Holder {
        claims,
        mount,
        account,
    }
}

fn sessions() -> Sessions {
    Sessions::new(&TagKey::new([1; 32]), &Issuer::parse("https://h").unwrap())
}

#[test]
fn a_session_id_is_worth_nothing_to_anybody_else() {
    let bound = sessions().bind("a~b", holder(&claims("u_1", "c_1"), &mount("notes")), false);
    let unbind = |text: &str, claims: &Claims, mount: &Mount| {
        sessions()
            .unbind(text, holder(claims, mount))
            .map(str::to_owned)
    };
    assert_eq!(
        unbind(&bound, &claims("u_1", "c_1"), &mount("notes")),
        Some("a~b".to_owned())
    );
    assert_eq!(unbind(&bound, &claims("u_2", "c_1"), &mount("notes")), None);
    assert_eq!(unbind(&bound, &claims("u_1", "c_2"), &mount("notes")), None);
    assert_eq!(unbind(&bound, &claims("u_1", "c_1"), &mount("other")), None);
    for forged in [
        "",
        "~",
        "a~b",
        "a",
        &bound[1..],
        &bound[..bound.len() - 1],
        &format!("x{bound}"),
    ] {
        assert_eq!(
            unbind(forged, &claims("u_1", "c_1"), &mount("notes")),
            None,
            "{forged}"
        );
    }
    let other_key = Sessions::new(&TagKey::new([2; 32]), &Issuer::parse("https://h").unwrap());
    assert_eq!(
        other_key.unbind(&bound, holder(&claims("u_1", "c_1"), &mount("notes"))),
        None
    );
}

#[test]
fn the_id_of_a_session_says_whether_its_client_opens_addresses() {
    let (sessions, alice, notes) = (sessions(), claims("u_1", "c_1"), mount("notes"));
    let holder = holder(&alice, &notes);
    for (id, opens_urls) in [("s", true), ("s", false), ("s~u", true), ("", true)] {
        let bound = sessions.bind(id, holder, opens_urls);
        assert_eq!(sessions.unbind(&bound, holder), Some(id));
        let mut headers = HeaderMap::new();
        headers.insert("mcp-session-id", bound.parse().unwrap());
        assert_eq!(says_that_urls_are_opened(&headers), opens_urls, "{id}");
    }
    // A tag of the one kind is none of the other.
    let plain = sessions.bind("s~u", holder, false);
    let tag = plain.rsplit_once('~').unwrap().1;
    assert_eq!(sessions.unbind(&format!("s~u~u~{tag}"), holder), None);
    assert_eq!(sessions.unbind(&plain, holder), Some("s~u"));
}

/// It is begun with no account, and goes on with whichever is connected.
#[test]
fn a_session_that_waits_for_an_account_is_its_persons_and_clients_alone() {
    let (sessions, alice, notes) = (sessions(), claims("u_1", "c_1"), mount("notes"));
    let account = AccountId::new("a_1");
    let nobody = holder(&alice, &notes);
    for opens_urls in [true, false] {
        let bound = sessions.bind_waiting("t", nobody, opens_urls);
        for account in [None, Some(&account)] {
            let holder = Holder { account, ..nobody };
            assert_eq!(sessions.unbind_waiting(&bound, holder), Some("t"));
            assert_eq!(sessions.unbind_own(&bound, holder), None);
        }
        let (bob, other) = (claims("u_2", "c_1"), mount("other"));
        assert_eq!(sessions.unbind_waiting(&bound, holder(&bob, &notes)), None);
        assert_eq!(
            sessions.unbind_waiting(&bound, holder(&alice, &other)),
            None
        );
    }
}

/// What was given to one account is nothing to another of the same person, nor to none.
#[test]
fn what_belongs_to_an_account_is_worth_nothing_to_another() {
    let (sessions, alice, notes) = (sessions(), claims("u_1", "c_1"), mount("notes"));
    let (first, second) = (AccountId::new("a_1"), AccountId::new("a_2"));
    let of = |account| Holder {
        account,
        ..holder(&alice, &notes)
    };
    for (owner, others) in [
        (Some(&first), [Some(&second), None]),
        (None, [Some(&first), Some(&second)]),
    ] {
        let bound = sessions.bind("s", of(owner), false);
        let own = sessions.bind_own("s", of(owner));
        let question = sessions.bind_question("7", "s", of(owner));
        let task = sessions.bind_task("t", "look", of(owner));
        let endpoint = sessions.bind_endpoint("/m", of(owner));
        let query = endpoint.split_once('?').map(|(_, query)| query);
        let state = StateTags::new(&sessions, of(owner)).bind("n");
        let opens = |holder: Holder<'_>| {
            [
                sessions.unbind(&bound, holder).is_some(),
                sessions.unbind_own(&own, holder).is_some(),
                sessions.unbind_question(&question, "s", holder).is_some(),
                sessions.unbind_task(&task, holder).is_some(),
                sessions.unbind_endpoint(query, holder).is_some(),
                StateTags::new(&sessions, holder).unbind(&state).is_some(),
            ]
        };
        assert_eq!(opens(of(owner)), [true; 6]);
        for other in others {
            assert_eq!(opens(of(other)), [false; 6], "{owner:?} {other:?}");
        }
    }
}

#[test]
fn a_question_is_answered_by_whom_it_was_put_to_and_where() {
    let sessions = sessions();
    let (alice, notes) = (claims("u_1", "c_1"), mount("notes"));
    for id in ["7", "\"a~b\"", "\"\"", "-1"] {
        let bound = sessions.bind_question(id, "s", holder(&alice, &notes));
        let unbind = |text: &str, session: &str, claims: &Claims, mount: &Mount| {
            sessions.unbind_question(text, session, holder(claims, mount))
        };
        assert_eq!(unbind(&bound, "s", &alice, &notes).as_deref(), Some(id));
        assert_eq!(unbind(&bound, "t", &alice, &notes), None);
        assert_eq!(unbind(&bound, "s", &claims("u_2", "c_1"), &notes), None);
        assert_eq!(unbind(&bound, "s", &claims("u_1", "c_2"), &notes), None);
        assert_eq!(unbind(&bound, "s", &alice, &mount("other")), None);
        assert_eq!(unbind(id, "s", &alice, &notes), None);
        let task = sessions.bind_task(id, "s", holder(&alice, &notes));
        assert_eq!(unbind(&task, "s", &alice, &notes), None, "of another kind");
        assert_eq!(sessions.unbind_task(&bound, holder(&alice, &notes)), None);
    }
}

#[test]
fn a_task_is_its_tools_and_its_clients() {
    let sessions = sessions();
    let (alice, notes) = (claims("u_1", "c_1"), mount("notes"));
    let bound = sessions.bind_task("t~1", "look", holder(&alice, &notes));
    let unbind = |text: &str, claims: &Claims| sessions.unbind_task(text, holder(claims, &notes));
    let expected = ("t~1".to_owned(), "look".to_owned());
    assert_eq!(unbind(&bound, &alice), Some(expected));
    assert_eq!(unbind(&bound, &claims("u_1", "c_2")), None);
    assert_eq!(unbind(&bound, &claims("u_2", "c_1")), None);
    let (id, rest) = bound.split_once('~').unwrap();
    let (_, tag) = rest.split_once('~').unwrap();
    let other = URL_SAFE_NO_PAD.encode("erase");
    for forged in ["t~1", "", "~~", &format!("{id}~{other}~{tag}")] {
        assert_eq!(unbind(forged, &alice), None, "{forged}");
    }
}

#[test]
fn a_legacy_endpoint_is_public_and_bound() {
    let url = sessions().bind_endpoint(
        "/messages/?session_id=ä&x=1",
        holder(&claims("u_1", "c_1"), &mount("notes")),
    );
    let query = url.strip_prefix("https://h/notes/messages?").unwrap();
    let unbind = |query: &str, user: &str| {
        sessions().unbind_endpoint(Some(query), holder(&claims(user, "c_1"), &mount("notes")))
    };
    assert_eq!(
        unbind(query, "u_1").as_deref(),
        Some("/messages/?session_id=ä&x=1")
    );
    assert_eq!(
        unbind(&query.replace('~', "%7E"), "u_1").as_deref(),
        Some("/messages/?session_id=ä&x=1")
    );
    assert_eq!(unbind(query, "u_2"), None);
    assert_eq!(unbind(&format!("{query}&{query}"), "u_1"), None);
    assert_eq!(unbind("session=L21lc3NhZ2Vz~x", "u_1"), None);
    assert_eq!(unbind("", "u_1"), None);
    assert_eq!(
        sessions().unbind_endpoint(None, holder(&claims("u_1", "c_1"), &mount("notes"))),
        None
    );
    // A tag of the one kind is none of the other.
    let id = sessions().bind(
        "/messages",
        holder(&claims("u_1", "c_1"), &mount("notes")),
        false,
    );
    let tag = id.rsplit_once('~').unwrap().1;
    assert_eq!(unbind(&format!("session=L21lc3NhZ2Vz~{tag}"), "u_1"), None);
}
