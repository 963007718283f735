//! The client's end of a WebSocket.

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::platform::{Api, PATIENCE};

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn open(api: &Api, path: &str, protocol: Option<&str>) -> Self {
        Self::try_open(api, path, protocol, None).await.unwrap()
    }

    /// The status where the upgrade is refused.
    pub async fn try_open(
        api: &Api,
        path: &str,
        protocol: Option<&str>,
        token: Option<&str>,
    ) -> Result<Self, u16> {
        let url = format!("{}{path}", api.url.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        if let Some(protocol) = protocol {
            let headers = request.headers_mut();
            headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        match connect_async(request).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn say(&mut self, value: Value) {
        self.say_text(value.to_string()).await;
    }

    pub async fn say_text(&mut self, text: String) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next JSON frame.
    pub async fn hear(&mut self) -> Value {
        match self.next().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("a text frame was expected, not {other:?}"),
        }
    }

    /// The code of the close frame that comes next.
    pub async fn hear_close(&mut self) -> u16 {
        match self.next().await {
            Some(Message::Close(Some(frame))) => frame.code.into(),
            other => panic!("a close frame was expected, not {other:?}"),
        }
    }

    async fn next(&mut self) -> Option<Message> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match next.expect("a frame in time") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(error)) => panic!("{error}"),
                None => return None,
            }
        }
    }
}
