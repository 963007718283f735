//! What a worker may not do.

use tonic::Code;
use uuid::Uuid;

use crate::{
    worker::{Worker, encoded, file, lease_of, probed, segment},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_nothing_is_answered() {
    let world = World::new().await;
    world.upload().await;
    let token = crate::world::TOKEN;
    for wrong in ["", "x", &token[1..], &format!("{token}x")] {
        let stranger = Worker::new(world.address, "stranger", wrong);
        let refused = stranger
            .claim_with(Uuid::now_v7(), &[], 0)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{wrong:?}");
    }
    world.worker("worker-1").claim("probe").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_published_in_order_and_by_their_own_task() {
    let world = World::new().await;
    world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    worker.work(&probe).await.unwrap();
    let lease = lease_of(&worker.claim("encode").await);

    let refused = worker.make_segment(&lease, "240p", 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let no_init = segment("240p-0.m4s".to_owned(), 10, 0);
    let refused = worker
        .publish(&lease, "240p", 0, None, vec![no_init])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refused = worker.make_segment(&lease, "audio", 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    assert_eq!(worker.make_segment(&lease, "240p", 0).await.unwrap(), 1);
    assert_eq!(
        worker.make_segment(&lease, "240p", 0).await.unwrap(),
        1,
        "repeated"
    );
    assert_eq!(worker.make_segment(&lease, "240p", 1).await.unwrap(), 2);
    // A longer report of the same beginning brings what is new in it.
    let segments = (0..2)
        .map(|i| segment(format!("144p-{i}.m4s"), 10, i))
        .collect::<Vec<_>>();
    let init = protocol::Init {
        name: "144p-init.mp4".to_owned(),
        size_bytes: 10,
        codec: "avc1.64001f".to_owned(),
        timescale: 1000,
    };
    let first = vec![segments[0].clone()];
    assert_eq!(
        worker
            .publish(&lease, "144p", 0, Some(init.clone()), first)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        worker
            .publish(&lease, "144p", 0, Some(init), segments)
            .await
            .unwrap(),
        2
    );

    let refused = worker.finish(&lease, probed()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_writes_once_into_its_own_folder_and_what_it_said() {
    let world = World::new().await;
    let (video, job) = world.upload().await;
    let worker = world.worker("worker-1");
    let lease = lease_of(&worker.claim("probe").await);

    for name in ["", "..", "../x", "a/b", "UPPER"] {
        let refused = worker
            .presign(&lease, vec![file(name, 1)])
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name:?}");
    }
    let many = (0..65).map(|i| file(&format!("{i}"), 1)).collect();
    assert_eq!(
        worker.presign(&lease, many).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let empty = vec![file("empty", 0)];
    assert_eq!(
        worker.presign(&lease, empty).await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let outputs = worker
        .presign(&lease, vec![file("out.mp4", 3)])
        .await
        .unwrap();
    assert_eq!(
        outputs[0].key,
        format!("videos/{video}/{job}/probe/1/out.mp4")
    );
    assert!(
        worker.send(&outputs[0], b"four".to_vec()).await >= 400,
        "another size"
    );
    assert_eq!(worker.send(&outputs[0], b"abc".to_vec()).await, 200);
    assert_eq!(
        worker.send(&outputs[0], b"xyz".to_vec()).await,
        412,
        "create-only"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_running_attempt_is_heard() {
    let world = World::new().await;
    world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    let mut later = lease_of(&probe);
    later.attempt = 2;
    assert_eq!(
        worker.heartbeat(&later).await.unwrap_err().code(),
        Code::Aborted
    );
    assert_eq!(
        worker.finish(&later, probed()).await.unwrap_err().code(),
        Code::Aborted
    );
    assert_eq!(
        worker.renew_source(&later).await.unwrap_err().code(),
        Code::Aborted
    );
    let other = world.worker("worker-2");
    assert_eq!(
        other.heartbeat(&lease_of(&probe)).await.unwrap_err().code(),
        Code::Aborted
    );

    let mut unknown = lease_of(&probe);
    unknown.task = "nothing".to_owned();
    assert_eq!(
        worker.finish(&unknown, encoded()).await.unwrap_err().code(),
        Code::NotFound
    );
    unknown.job = Uuid::now_v7().to_string();
    assert_eq!(
        worker.finish(&unknown, encoded()).await.unwrap_err().code(),
        Code::NotFound
    );
    assert!(
        worker.heartbeat(&unknown).await.unwrap(),
        "a job that is gone is cancelled"
    );
    unknown.job = "x".to_owned();
    assert_eq!(
        worker.heartbeat(&unknown).await.unwrap_err().code(),
        Code::InvalidArgument
    );

    worker.finish(&lease_of(&probe), probed()).await.unwrap();
    worker.finish(&lease_of(&probe), probed()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_names_its_request_and_a_worker() {
    let world = World::new().await;
    let nobody = world.worker("");
    let refused = nobody.claim_with(Uuid::now_v7(), &[], 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let impostor = world.worker("conductor");
    let refused = impostor
        .claim_with(Uuid::now_v7(), &[], 0)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let nothing = world
        .worker("worker-1")
        .claim_with(Uuid::now_v7(), &[], 50)
        .await
        .unwrap();
    assert_eq!(nothing, None, "there is nothing to do");
}
