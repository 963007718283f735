//! A scripted worker: it does what a real one does, with made-up bytes.

use std::{net::SocketAddr, time::Duration};

use domain::{code::Code, id::JobId};
use protocol::{
    AudioSpec, EncodeSpec, Init, Lease, Segment, Task, conductor_client::ConductorClient,
    finish_request::Result as Outcome, task::Spec,
};
use tonic::{Request, Status, transport::Channel};
use uuid::Uuid;

/// What the made-up source contains.
pub const DURATION_MS: u64 = 4_000;
const TIMESCALE: u32 = 1_000;

#[derive(Clone)]
pub struct Worker {
    pub name: String,
    token: String,
    client: ConductorClient<Channel>,
    http: reqwest::Client,
}

impl Worker {
    pub fn new(address: SocketAddr, name: &str, token: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_timeout(Duration::from_secs(5))
            .connect_lazy();
        Self {
            name: name.to_owned(),
            token: token.to_owned(),
            client: ConductorClient::new(channel),
            http: reqwest::Client::new(),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request.set_timeout(Duration::from_secs(40));
        request
    }

    /// Whether the conductor answers, with whatever but "not me".
    pub async fn is_served(&self) -> bool {
        let message = protocol::HeartbeatRequest {
            lease: Some(Lease {
                job: Uuid::nil().to_string(),
                task: "probe".to_owned(),
                attempt: 1,
            }),
            worker: self.name.clone(),
            progress_permille: 0,
            capacity: None,
        };
        self.client
            .clone()
            .heartbeat(self.request(message))
            .await
            .is_ok()
    }

    pub async fn claim_with(
        &self,
        request: Uuid,
        kinds: &[&str],
        wait_ms: u32,
    ) -> Result<Option<Task>, Status> {
        self.claim_within(request, kinds, wait_ms, None).await
    }

    pub async fn claim_within(
        &self,
        request: Uuid,
        kinds: &[&str],
        wait_ms: u32,
        capacity: Option<protocol::Capacity>,
    ) -> Result<Option<Task>, Status> {
        let message = protocol::ClaimRequest {
            request_id: request.to_string(),
            worker: self.name.clone(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            wait_ms,
            capacity,
        };
        let answer = self.client.clone().claim(self.request(message)).await?;
        Ok(answer.into_inner().task)
    }

    pub async fn demand(&self, wait_ms: u32) -> Result<protocol::DemandResponse, Status> {
        let message = protocol::DemandRequest { wait_ms };
        let answer = self.client.clone().demand(self.request(message)).await?;
        Ok(answer.into_inner())
    }

    /// A task of this kind, sooner or later.
    pub async fn claim(&self, kind: &str) -> Task {
        let task = self
            .claim_with(Uuid::now_v7(), &[kind], 15_000)
            .await
            .unwrap();
        task.unwrap_or_else(|| panic!("there was no task of kind {kind}"))
    }

    pub async fn heartbeat(&self, lease: &Lease) -> Result<bool, Status> {
        let message = protocol::HeartbeatRequest {
            lease: Some(lease.clone()),
            worker: self.name.clone(),
            progress_permille: 500,
            capacity: None,
        };
        let answer = self.client.clone().heartbeat(self.request(message)).await?;
        Ok(answer.into_inner().cancelled)
    }

    pub async fn renew_source(&self, lease: &Lease) -> Result<protocol::Source, Status> {
        let message = protocol::RenewSourceRequest {
            lease: Some(lease.clone()),
        };
        let answer = self
            .client
            .clone()
            .renew_source(self.request(message))
            .await?;
        Ok(answer.into_inner().source.unwrap())
    }

    pub async fn presign(
        &self,
        lease: &Lease,
        files: Vec<protocol::OutputFile>,
    ) -> Result<Vec<protocol::Presigned>, Status> {
        let message = protocol::PresignOutputsRequest {
            lease: Some(lease.clone()),
            files,
        };
        let answer = self
            .client
            .clone()
            .presign_outputs(self.request(message))
            .await?;
        Ok(answer.into_inner().outputs)
    }

    pub async fn send(&self, to: &protocol::Presigned, bytes: Vec<u8>) -> u16 {
        let mut put = self.http.put(&to.url).body(bytes);
        // The length is that of the bytes, whatever was announced.
        for (name, value) in to
            .headers
            .iter()
            .filter(|(name, _)| *name != "content-length")
        {
            put = put.header(name, value);
        }
        put.send().await.unwrap().status().as_u16()
    }

    pub async fn fetch(&self, source: &protocol::Source) -> Vec<u8> {
        let mut get = self.http.get(&source.url);
        for (name, value) in &source.headers {
            get = get.header(name, value);
        }
        let answer = get.send().await.unwrap().error_for_status().unwrap();
        answer.bytes().await.unwrap().to_vec()
    }

    /// Stores made-up bytes under this name; what is there already stays.
    pub async fn store(&self, lease: &Lease, name: &str) -> Result<u64, Status> {
        let bytes = format!("the bytes of {name}").into_bytes();
        let size_bytes = bytes.len() as u64;
        let outputs = self.presign(lease, vec![file(name, size_bytes)]).await?;
        let status = self.send(&outputs[0], bytes).await;
        assert!(status == 200 || status == 412, "PUT answered {status}");
        Ok(size_bytes)
    }

    pub async fn publish(
        &self,
        lease: &Lease,
        rendition: &str,
        from: u32,
        init: Option<Init>,
        segments: Vec<Segment>,
    ) -> Result<u32, Status> {
        let message = protocol::PublishRequest {
            lease: Some(lease.clone()),
            rendition: rendition.to_owned(),
            from,
            init,
            segments,
        };
        let answer = self.client.clone().publish(self.request(message)).await?;
        Ok(answer.into_inner().published)
    }

    pub async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<(), Status> {
        let message = protocol::FinishRequest {
            lease: Some(lease.clone()),
            result: Some(outcome),
        };
        self.client.clone().finish(self.request(message)).await?;
        Ok(())
    }

    pub async fn fail(&self, lease: &Lease, code: &str, message: &str) -> Result<(), Status> {
        let message = protocol::FailRequest {
            lease: Some(lease.clone()),
            code: code.to_owned(),
            message: message.to_owned(),
            source_fault: Code::parse(code).is_some_and(Code::blames_the_source),
        };
        self.client.clone().fail(self.request(message)).await?;
        Ok(())
    }

    /// Stores and publishes the segment `index` of a rendition, the first one with its init.
    pub async fn make_segment(
        &self,
        lease: &Lease,
        rendition: &str,
        index: u32,
    ) -> Result<u32, Status> {
        // The others go without: a rendition has one already.
        let init = if index == 0 {
            Some(self.make_init(lease, rendition).await?)
        } else {
            None
        };
        let name = format!("{rendition}-{index}.m4s");
        let size_bytes = self.store(lease, &name).await?;
        let segment = segment(name, size_bytes, index);
        self.publish(lease, rendition, index, init, vec![segment])
            .await
    }

    pub async fn make_init(&self, lease: &Lease, rendition: &str) -> Result<Init, Status> {
        let name = format!("{rendition}-init.mp4");
        Ok(Init {
            size_bytes: self.store(lease, &name).await?,
            name,
            codec: if rendition == "audio" {
                "mp4a.40.2"
            } else {
                "avc1.64001f"
            }
            .to_owned(),
            timescale: TIMESCALE,
        })
    }

    /// Does the whole task.
    pub async fn work(&self, task: &Task) -> Result<(), Status> {
        let lease = task.lease.as_ref().unwrap();
        match task.spec.as_ref().unwrap() {
            Spec::Probe(_) => {
                self.fetch(task.source.as_ref().unwrap()).await;
                self.finish(lease, probed()).await
            }
            Spec::Encode(spec) => {
                for (rendition, index) in segments_of(spec) {
                    self.make_segment(lease, &rendition, index).await?;
                }
                self.finish(lease, encoded()).await
            }
            Spec::Audio(AudioSpec {
                boundaries_us,
                rendition,
                published,
                ..
            }) => {
                for index in *published..boundaries_us.len() as u32 {
                    self.make_segment(lease, rendition, index).await?;
                }
                self.finish(lease, encoded()).await
            }
            Spec::Passthrough(_) => panic!("nothing is passed through here"),
            Spec::Poster(spec) => {
                let poster = protocol::PosterResult {
                    name: "poster.jpg".to_owned(),
                    width: spec.width,
                    height: spec.height,
                    size_bytes: self.store(lease, "poster.jpg").await?,
                };
                self.finish(lease, Outcome::Poster(poster)).await
            }
        }
    }

    /// Works until nothing is left to do.
    pub async fn work_all(&self, tasks: usize) {
        for _ in 0..tasks {
            let task = self.claim_with(Uuid::now_v7(), &[], 15_000).await.unwrap();
            self.work(&task.expect("there is a task")).await.unwrap();
        }
    }
}

/// Segments that are not published yet, in the order of time.
fn segments_of(spec: &EncodeSpec) -> Vec<(String, u32)> {
    let mut segments = vec![];
    let all = spec.boundaries_us.len() as u32;
    let first = spec.first_segment;
    let end = if spec.segments == 0 {
        all
    } else {
        first + spec.segments
    };
    for index in first..end {
        for target in spec
            .targets
            .iter()
            .filter(|target| index >= first + target.published)
        {
            segments.push((target.rendition.clone(), index));
        }
    }
    segments
}

pub fn file(name: &str, size_bytes: u64) -> protocol::OutputFile {
    protocol::OutputFile {
        name: name.to_owned(),
        size_bytes,
        content_type: "video/mp4".to_owned(),
    }
}

pub fn segment(name: String, size_bytes: u64, index: u32) -> Segment {
    let duration = u64::from(TIMESCALE) * 2;
    Segment {
        name,
        size_bytes,
        time: u64::from(index) * duration,
        duration,
        samples: 60,
    }
}

/// Four seconds of a small picture, with sound.
pub fn probed() -> Outcome {
    Outcome::Probe(protocol::ProbeResult {
        container: "video/quicktime".to_owned(),
        duration_ms: DURATION_MS,
        video: Some(protocol::Video {
            codec: "video/x-h264".to_owned(),
            width: 426,
            height: 240,
            display_width: 426,
            display_height: 240,
            rotation: 0,
            frame_rate_num: 30,
            frame_rate_den: 1,
            interlaced: false,
            bitrate_kbps: 0,
        }),
        audio: Some(protocol::Audio {
            codec: "audio/mpeg".to_owned(),
            channels: 2,
            sample_rate: 48_000,
            bitrate_kbps: 0,
            as_is: false,
        }),
        tracks: 2,
        cuts_us: vec![],
    })
}

pub fn encoded() -> Outcome {
    Outcome::Encode(protocol::EncodeResult {
        duration_ms: DURATION_MS,
        samples: 120,
    })
}

pub fn job_of(task: &Task) -> JobId {
    lease_of(task).job.parse().unwrap()
}

pub fn lease_of(task: &Task) -> Lease {
    task.lease.clone().unwrap()
}
