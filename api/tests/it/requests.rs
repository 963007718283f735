//! Requests that are malformed, too large, or from nobody we know.

use std::time::Duration;

use api::token::Scope;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    graphql_socket::{initialised, subscribe},
    platform::{PATIENCE, TOKEN_SECRET, code, person, test, token},
};

#[test]
fn a_wrong_token_is_never_taken_for_none() {
    test(async |platform| {
        let expired = {
            // Minted already expired, beyond what clocks may differ.
            let claims = json!({"sub": "ada", "scope": "operate", "exp": 1_000_000, "iat": 0});
            let key = jsonwebtoken::EncodingKey::from_secret(TOKEN_SECRET.as_bytes());
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
        };
        let foreign = api::token::mint(
            "another secret, also of 32 bytes and more",
            "ada",
            &[Scope::Operate],
            Duration::from_secs(60),
        )
        .unwrap();
        for wrong in [expired.as_str(), &foreign, "garbage", ""] {
            let body = json!({"query": "{ videos { edges { node { id } } } }"});
            let (status, answer) = platform.ask_at(&platform.api, Some(wrong), body).await;
            assert_eq!(status, 401);
            assert_eq!(code(&answer), "UNAUTHENTICATED");
            assert_eq!(answer.get("data"), None);
        }
        let url = format!("{}/graphql", platform.api.url);
        let basic = platform.http.post(url).basic_auth("ada", Some("x"));
        let answer = basic
            .json(&json!({"query": "{ __typename }"}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
    });
}

#[test]
fn a_malformed_request_is_a_typed_error() {
    test(async |platform| {
        for query in [
            "",
            "{",
            "{ nothing }",
            "{ video }",
            "query A { __typename } query B { __typename }",
        ] {
            assert_eq!(
                code(&platform.ask(None, query, json!({})).await),
                "INVALID",
                "{query}"
            );
        }
        let url = format!("{}/graphql", platform.api.url);
        for body in ["", "[]", "no json", "{\"query\":1}"] {
            let answer = platform.http.post(&url).body(body).send().await.unwrap();
            assert_eq!(answer.status(), 400, "{body}");
            assert_eq!(code(&answer.json().await.unwrap()), "INVALID", "{body}");
        }
        let large = "x".repeat(257 * 1024);
        let answer = platform.http.post(&url).body(large).send().await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(code(&answer.json().await.unwrap()), "LIMIT_EXCEEDED");
    });
}

#[test]
fn a_document_has_maxima() {
    test(async |platform| {
        let mut nested = "name".to_owned();
        for _ in 0..14 {
            nested = format!("ofType {{ {nested} }}");
        }
        let deep = format!("{{ __typename __type(name: \"Video\") {{ {nested} }} }}");
        assert_eq!(
            platform.ask(None, &deep, json!({})).await.get("errors"),
            None
        );
        let mixed = format!(
            "{{ __type(name: \"Video\") {{ {nested} }} videos {{ pageInfo {{ hasNextPage }} }} }}"
        );
        assert_eq!(
            code(&platform.ask(None, &mixed, json!({})).await),
            "LIMIT_EXCEEDED"
        );

        let fields = "id title description tags visibility status playable progress durationMs width height createdAt readyAt views posterUrl";
        let costly = format!(
            "{{ a: videos(first: 100) {{ edges {{ node {{ {fields} }} }} }} b: videos(first: 100) {{ edges {{ node {{ {fields} }} }} }} }}"
        );
        assert_eq!(
            code(&platform.ask(None, &costly, json!({})).await),
            "LIMIT_EXCEEDED"
        );
        let cheaper = format!(
            "{{ a: videos(first: 50) {{ edges {{ node {{ {fields} }} }} }} b: videos(first: 40) {{ edges {{ node {{ {fields} }} }} }} }}"
        );
        assert_eq!(
            platform.ask(None, &cheaper, json!({})).await.get("errors"),
            None
        );

        let circular =
            "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }";
        assert_eq!(
            code(&platform.ask(None, circular, json!({})).await),
            "LIMIT_EXCEEDED"
        );
        let mut bomb = String::from("{ ...f0 } fragment f20 on Query { __typename }");
        for number in 0..20 {
            bomb += &format!(
                " fragment f{number} on Query {{ ...f{0} ...f{0} }}",
                number + 1
            );
        }
        assert_eq!(
            code(&platform.ask(None, &bomb, json!({})).await),
            "LIMIT_EXCEEDED"
        );
    });
}

/// Documents that would keep a thread for ever, or overflow its stack.
pub fn bombs() -> Vec<(&'static str, String)> {
    let mut fanned = String::from("{ ...f0 } fragment f20 on Query { __typename }");
    for number in 0..20 {
        let spreads = format!("...f{} ", number + 1).repeat(200);
        fanned += &format!(" fragment f{number} on Query {{ {spreads}}}");
    }
    let mut chained = String::from("{ __typename }");
    for number in 0..7_000 {
        chained += &format!("fragment f{number} on Query{{...f{}}}", number + 1);
    }
    vec![
        ("fanned out", fanned),
        (
            "a cycle",
            "{ ...A } fragment A on Query { ...A }".to_owned(),
        ),
        ("a chain that nothing asks for", chained),
    ]
}

#[test]
fn a_document_that_explodes_is_refused_at_once() {
    test(async |platform| {
        for (name, bomb) in bombs() {
            let asking = platform.ask(None, &bomb, json!({}));
            let answer = tokio::time::timeout(Duration::from_secs(10), asking).await;
            let answer = answer.expect(name);
            assert_eq!(code(&answer), "LIMIT_EXCEEDED", "{name}");
        }
    });
}

#[test]
fn the_usual_tools_can_read_the_schema() {
    test(async |platform| {
        let query = "query IntrospectionQuery { __schema { description queryType { name } mutationType { name } subscriptionType { name }
            types { ...FullType } directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } } } }
            fragment FullType on __Type { kind name description specifiedByURL fields(includeDeprecated: true) { name description
              args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
              inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
              enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
            fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
            fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
              ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";
        let answer = platform.ask(None, query, json!({})).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        assert_eq!(
            answer["data"]["__schema"]["subscriptionType"]["name"],
            "Subscription"
        );
    });
}

#[test]
fn the_console_needs_nothing_from_elsewhere() {
    test(async |platform| {
        let page = platform.get("/").await;
        assert_eq!(page.status(), 200);
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"));
        let html = page.text().await.unwrap();
        assert!(html.contains("Kinolog") && html.contains("graphql-transport-ws"));
        for elsewhere in [
            "src=\"http",
            "href=\"http",
            "@import",
            "url(http",
            "src=\"//",
        ] {
            assert!(!html.contains(elsewhere), "{elsewhere}");
        }
        let redirect = platform.get("/graphql").await;
        assert_eq!(redirect.status(), 303);
        assert_eq!(redirect.headers()["location"], "/");
    });
}

#[test]
fn every_answer_names_its_request() {
    test(async |platform| {
        let one = platform.get("/healthz").await;
        let two = platform.get("/nothing").await;
        assert_eq!(two.status(), 404);
        assert_ne!(one.headers()["x-request-id"], two.headers()["x-request-id"]);
    });
}

#[test]
fn numbers_are_for_operators_and_this_machine() {
    test(async |platform| {
        let metrics = platform.get("/metrics").await;
        assert_eq!(metrics.status(), 200);
        assert!(
            metrics
                .text()
                .await
                .unwrap()
                .contains("kinolog_http_requests_total")
        );
        let url = format!("{}/metrics", platform.api.url);
        let passed_on = || {
            platform
                .http
                .get(&url)
                .header("x-forwarded-for", "192.0.2.1")
        };
        assert_eq!(passed_on().send().await.unwrap().status(), 401);
        let someone = passed_on().bearer_auth(person("requests-metrics"));
        assert_eq!(someone.send().await.unwrap().status(), 403);
        let operator = passed_on().bearer_auth(token("requests-operator", &[Scope::Operate]));
        assert_eq!(operator.send().await.unwrap().status(), 200);
    });
}

#[test]
fn a_body_that_never_comes_gives_its_place_back() {
    test(async |platform| {
        let api = platform
            .another(|config| {
                config.tuning.requests_max = 1;
                config.tuning.request = Duration::from_millis(300);
            })
            .await;
        let address = api.url.strip_prefix("http://").unwrap();
        for path in ["/graphql", "/hooks/object-created"] {
            let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{");
            slow.write_all(head.as_bytes()).await.unwrap();
            let mut answer = vec![0; 12];
            let read = slow.read_exact(&mut answer);
            let read = tokio::time::timeout(PATIENCE, read).await;
            read.expect("an answer in time").unwrap();
            assert_eq!(answer, b"HTTP/1.1 408");
            let body = json!({"query": "{ __typename }"});
            assert_eq!(platform.ask_at(&api, None, body).await.0, 200);
        }
        api.stop.cancel();
    });
}

#[test]
fn an_operation_that_takes_too_long_is_given_up() {
    test(async |platform| {
        let api = platform
            .another(|config| config.tuning.operation = Duration::from_millis(50))
            .await;
        let never = platform.log.epoch().await.unwrap().at(u64::MAX >> 2);
        let query = format!("{{ videos(minPosition: \"{never}\") {{ edges {{ cursor }} }} }}");
        let (_, answer) = platform.ask_at(&api, None, json!({"query": query})).await;
        assert_eq!(code(&answer), "LIMIT_EXCEEDED");
        assert_eq!(answer["data"], serde_json::Value::Null);
        let mut socket = initialised(&api, json!({})).await;
        subscribe(&mut socket, "slow", &query, json!({})).await;
        let error = socket.hear().await;
        assert_eq!(error["type"], "error", "{error}");
        assert_eq!(error["payload"][0]["extensions"]["code"], "LIMIT_EXCEEDED");
        api.stop.cancel();
    });
}

#[test]
fn waiting_for_positions_has_its_price() {
    test(async |platform| {
        let at = platform.log.epoch().await.unwrap().at(0);
        let id = uuid::Uuid::new_v4();
        let many = |count: usize, field: &str| {
            let fields = (0..count).map(|number| format!("v{number}: {field} "));
            format!("{{ {} }}", fields.collect::<String>())
        };
        let waiting = format!("video(id: \"{id}\", minPosition: \"{at}\") {{ id }}");
        let plain = format!("video(id: \"{id}\") {{ id }}");
        for (query, is_refused) in [
            (many(100, &waiting), true),
            (many(90, &waiting), false),
            (many(100, &plain), false),
        ] {
            let answer = platform.ask(None, &query, json!({})).await;
            match is_refused {
                true => assert_eq!(code(&answer), "LIMIT_EXCEEDED"),
                false => assert_eq!(answer.get("errors"), None, "{answer}"),
            }
        }
    });
}

#[test]
fn whoever_asks_and_takes_nothing_is_cut_off() {
    test(async |platform| {
        let stalled = Duration::from_millis(500);
        let api = platform.another(|config| config.tuning.stalled = stalled);
        let address = api.await.url.replace("http://", "");
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        // The answers fill whatever holds them, then nothing more is read of the requests.
        let asking = async {
            while connection
                .write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
                .await
                .is_ok()
            {}
        };
        let cut_off = tokio::time::timeout(PATIENCE, asking).await;
        assert!(cut_off.is_ok(), "the connection is still there");
    });
}
