//! What every store must do for whatever is answered, made or taken once without a browser: a device's
//! answer, a personal token's grant, a service's.

use std::sync::Arc;
use std::time::Duration;

use super::moments;
use crate::error::StoreError;
use crate::records::{Records, ServiceGrantKey, SingleUse};
use crate::store::Store;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::device::{Answer, DeviceAuthorization, LIFETIME, UserCode};
use gateway_core::grants::{Grant, GrantId, Tools, UserId};
use gateway_core::protocol::resource::Resource;
use gateway_core::protocol::scope::Scope;
use gateway_core::secret::Secret;
use rand::rngs::OsRng;

pub(super) async fn all<F: Future<Output = Arc<dyn Store>>>(open: &impl Fn() -> F) {
    a_device_is_answered_once_and_its_answer_taken_once(&open().await).await;
    a_grant_is_added_once_and_a_service_finds_its_own(&open().await).await;
}

fn asked(code: &str, now: Timestamp) -> DeviceAuthorization {
    DeviceAuthorization {
        client: ClientId::new("c_1"),
        client_fingerprint: None,
        resource: Resource::from_token("https://mcp.example.com/mcp"),
        scope: Scope::parse("mcp"),
        user_code: UserCode::parse(code).unwrap(),
        address: [192, 0, 2, 1].into(),
        asked: now,
        expires: now + LIFETIME,
        answer: None,
    }
}

async fn a_device_is_answered_once_and_its_answer_taken_once(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    let (code, other) = (
        Secret::presented("device").hash(),
        Secret::presented("other").hash(),
    );
    let first = asked("BCDFGHJK", now);
    assert!(records.add_device(&code, &first, now).await.unwrap());
    let same_code = records.add_device(&other, &first, now).await;
    assert!(!same_code.unwrap(), "a user code stands for one request");
    assert!(records.device(&other, now).await.unwrap().is_none());
    let typed = records.device_of_user_code(&first.user_code, now).await;
    let kept = typed.unwrap().unwrap();
    assert_eq!((&kept.asked, &kept.code), (&first, &code));
    let denied = DeviceAuthorization {
        answer: Some(Answer::Denied),
        ..first.clone()
    };
    records.answer_device(&kept, &denied, now).await.unwrap();
    let late = records.answer_device(&kept, &first, now).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
    let taken = records.take_device(&code, now).await.unwrap();
    assert_eq!(taken, SingleUse::Fresh(denied));
    let again = records.take_device(&code, now).await.unwrap();
    assert_eq!(again, SingleUse::Again);
    let after = now + LIFETIME + Duration::from_secs(1);
    assert_eq!(
        records.take_device(&code, after).await.unwrap(),
        SingleUse::Unknown
    );
    let over = records.device_of_user_code(&first.user_code, after).await;
    assert!(over.unwrap().is_none());
}

async fn a_grant_is_added_once_and_a_service_finds_its_own(store: &Arc<dyn Store>) {
    let now = moments()(0);
    let records = Records::new(Arc::clone(store));
    let grant = Grant {
        id: GrantId::new("g_1"),
        user: UserId::of_service("ci"),
        user_name: "ci".to_owned(),
        client: ClientId::new("nightly"),
        client_fingerprint: None,
        resource: Resource::from_token("https://mcp.example.com/mcp"),
        scope: Scope::parse("mcp"),
        tools: Tools::All,
        created: now,
        redeemed: None,
        expires: now + Duration::from_secs(3600),
        refresh: None,
        personal: None,
        allowed_by: None,
    };
    assert!(records.add_grant(&grant, now).await.unwrap());
    let twice = Grant {
        user_name: "other".to_owned(),
        ..grant.clone()
    };
    assert!(!records.add_grant(&twice, now).await.unwrap());
    assert_eq!(
        records.grant(&grant.id, now).await.unwrap(),
        Some(grant.clone())
    );

    let scope = Scope::parse("mcp");
    let key = ServiceGrantKey {
        client: &grant.client,
        resource: &grant.resource,
        scope: &scope,
        tools: grant.tools.digest(),
    };
    assert_eq!(records.service_grant(&key, now).await.unwrap(), None);
    let put = async |seen: Option<GrantId>, grant: Grant| {
        let put = records.put_service_grant(&key, seen.as_ref(), grant, now);
        put.await.unwrap()
    };
    assert_eq!(put(None, grant.clone()).await, grant);
    let found = records.service_grant(&key, now).await.unwrap();
    assert_eq!(found, Some(grant.clone()));
    // Two that found none at the same time have one in the end.
    let second = Grant {
        id: GrantId::draw(&mut OsRng),
        ..grant.clone()
    };
    assert_eq!(put(None, second.clone()).await, grant);
    assert_eq!(records.grant(&second.id, now).await.unwrap(), None);
    // One that is good no more is followed by another, once.
    assert_eq!(put(Some(grant.id.clone()), second.clone()).await, second);
    let third = Grant {
        id: GrantId::draw(&mut OsRng),
        ..grant.clone()
    };
    assert_eq!(put(Some(grant.id.clone()), third.clone()).await, second);
    // The name of one that is gone stands in nobody's way.
    let ended = records.revoke_grant(&second.id, second.expires, now);
    ended.await.unwrap();
    assert_eq!(put(None, third.clone()).await, third);
    let grant = third;
    let (less, other) = (Scope::parse("read"), ClientId::new("other"));
    for key in [
        ServiceGrantKey {
            scope: &less,
            ..key
        },
        ServiceGrantKey {
            client: &other,
            ..key
        },
        ServiceGrantKey {
            tools: Tools::Only(["search".to_owned()].into()).digest(),
            ..key
        },
    ] {
        assert_eq!(records.service_grant(&key, now).await.unwrap(), None);
    }
    records
        .revoke_grant(&grant.id, grant.expires, now)
        .await
        .unwrap();
    assert_eq!(records.service_grant(&key, now).await.unwrap(), None);
}
