use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::package::encode_package_with;
use crate::{DecodeError, HEADER_LEN, Kind, RawId, TooLong};

/// The longest route, in bytes of UTF-8. Keep those of pushes to 127: libpomelo
/// and libpomelo2 read the length byte as signed.
pub const ROUTE_LEN_MAX: usize = 255;

const ROUTE_IS_CODE: u8 = 0x01;
const TYPE_SHIFT: u8 = 1;
const TYPE_MASK: u8 = 0x07;
const BODY_IS_COMPRESSED: u8 = 0x10;

const REQUEST: u8 = 0;
const NOTIFY: u8 = 1;
const RESPONSE: u8 = 2;
const PUSH: u8 = 3;

/// What a DATA package carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A call that wants an answer, unless the id says otherwise.
    Request {
        /// Echoed in the answer.
        id: RawId,
        /// Whom the call is for.
        route: RawRoute,
        /// JSON text, or protobuf if the route has a client schema.
        body: Bytes,
    },
    /// A call without an answer.
    Notify {
        /// Whom the call is for.
        route: RawRoute,
        /// As for a request.
        body: Bytes,
    },
    /// The answer to a request; it has no route.
    Response {
        /// That of the request.
        id: RawId,
        /// JSON text, or protobuf if the request's route has a server schema.
        body: Bytes,
    },
    /// Something the other side did not ask for. From a client it is executed
    /// like a notify (observed with pomelo 2.2.7).
    Push {
        /// What happened.
        route: RawRoute,
        /// JSON text, or protobuf if the route has a schema.
        body: Bytes,
    },
    /// A type without a meaning, 4 to 7. Servers ignore it.
    Unknown {
        /// The three type bits of the flag byte.
        type_bits: u8,
    },
}

/// A route as it is on the wire.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RawRoute {
    /// Valid UTF-8 of at most [`ROUTE_LEN_MAX`] bytes; may be empty.
    Name(Bytes),
    /// A number from the dictionary; 0 is never one.
    Code(u16),
}

/// A route to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushRoute<'a> {
    /// In full, at most [`ROUTE_LEN_MAX`] bytes.
    Name(&'a str),
    /// Its number in the dictionary that the client was told of.
    Code(u16),
}

impl Message {
    /// Reads the body of a DATA package. Bodies are slices of `data`.
    ///
    /// Flag bits 0x20, 0x40 and 0x80 are ignored, as pomelo 2.2.7 does.
    ///
    /// # Errors
    ///
    /// Any [`DecodeError`] of messages: truncated data, a bad id, a route that
    /// is not UTF-8, or the compression bit 0x10, which the original carries
    /// but does not act on.
    pub fn decode(mut data: Bytes) -> Result<Self, DecodeError> {
        let flag = take_u8(&mut data)?;
        if flag & BODY_IS_COMPRESSED != 0 {
            return Err(DecodeError::Compressed);
        }
        Ok(match (flag >> TYPE_SHIFT) & TYPE_MASK {
            REQUEST => {
                let id = take_id(&mut data)?;
                Self::Request { id, route: take_route(flag, &mut data)?, body: data }
            }
            NOTIFY => Self::Notify { route: take_route(flag, &mut data)?, body: data },
            RESPONSE => Self::Response { id: take_id(&mut data)?, body: data },
            PUSH => Self::Push { route: take_route(flag, &mut data)?, body: data },
            type_bits => Self::Unknown { type_bits },
        })
    }
}

/// Appends the answer to request `id`, as a whole DATA package.
///
/// # Errors
///
/// [`TooLong::Body`] if the message does not fit a package.
pub fn encode_response(id: &RawId, body: &[u8], out: &mut BytesMut) -> Result<(), TooLong> {
    out.reserve(HEADER_LEN + 1 + RawId::LEN_MAX + body.len());
    encode_package_with(Kind::Data, out, |out| {
        out.put_u8(RESPONSE << TYPE_SHIFT);
        out.put_slice(id.as_bytes());
        out.put_slice(body);
        Ok(())
    })
}

/// Appends a push, as a whole DATA package.
///
/// # Errors
///
/// [`TooLong`] if the route or the message does not fit.
pub fn encode_push(route: PushRoute<'_>, body: &[u8], out: &mut BytesMut) -> Result<(), TooLong> {
    encode_push_with(route, out, |out| out.put_slice(body))
}

/// Appends a request as a client writes it, as a whole DATA package.
///
/// # Errors
///
/// [`TooLong`] if the route or the message does not fit.
pub fn encode_request(
    id: &RawId,
    route: PushRoute<'_>,
    body: &[u8],
    out: &mut BytesMut,
) -> Result<(), TooLong> {
    encode_package_with(Kind::Data, out, |out| {
        out.put_u8(flag(REQUEST, route));
        out.put_slice(id.as_bytes());
        put_route(route, out)?;
        out.put_slice(body);
        Ok(())
    })
}

/// Appends a notify as a client writes it, as a whole DATA package.
///
/// # Errors
///
/// [`TooLong`] if the route or the message does not fit.
pub fn encode_notify(route: PushRoute<'_>, body: &[u8], out: &mut BytesMut) -> Result<(), TooLong> {
    encode_package_with(Kind::Data, out, |out| {
        out.put_u8(flag(NOTIFY, route));
        put_route(route, out)?;
        out.put_slice(body);
        Ok(())
    })
}

/// Appends a push whose body `write` appends.
pub(crate) fn encode_push_with(
    route: PushRoute<'_>,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), TooLong> {
    encode_package_with(Kind::Data, out, |out| {
        out.put_u8(flag(PUSH, route));
        put_route(route, out)?;
        write(out);
        Ok(())
    })
}

fn flag(type_bits: u8, route: PushRoute<'_>) -> u8 {
    let is_code = matches!(route, PushRoute::Code(_));
    (type_bits << TYPE_SHIFT) | if is_code { ROUTE_IS_CODE } else { 0 }
}

fn put_route(route: PushRoute<'_>, out: &mut BytesMut) -> Result<(), TooLong> {
    match route {
        PushRoute::Code(code) => out.put_u16(code),
        PushRoute::Name(name) => {
            let len = u8::try_from(name.len()).map_err(|_| TooLong::Route(name.len()))?;
            out.put_u8(len);
            out.put_slice(name.as_bytes());
        }
    }
    Ok(())
}

fn take_u8(data: &mut Bytes) -> Result<u8, DecodeError> {
    data.try_get_u8().map_err(|_| DecodeError::Truncated)
}

fn take_id(data: &mut Bytes) -> Result<RawId, DecodeError> {
    let (id, _) = RawId::split_from(data)?;
    data.advance(id.as_bytes().len());
    Ok(id)
}

fn take_route(flag: u8, data: &mut Bytes) -> Result<RawRoute, DecodeError> {
    if flag & ROUTE_IS_CODE != 0 {
        let code = data.try_get_u16().map_err(|_| DecodeError::Truncated)?;
        return Ok(RawRoute::Code(code));
    }
    let len = usize::from(take_u8(data)?);
    if data.len() < len {
        return Err(DecodeError::Truncated);
    }
    let name = data.split_to(len);
    match std::str::from_utf8(&name) {
        Ok(_) => Ok(RawRoute::Name(name)),
        Err(_) => Err(DecodeError::RouteNotUtf8),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The message inside the one package of `out`.
    fn decode(out: BytesMut) -> Message {
        let packages = crate::decode_frame(out.freeze(), crate::BODY_LEN_MAX);
        let [package] = &packages.collect::<Result<Vec<_>, _>>().unwrap()[..] else {
            panic!("not one package");
        };
        assert_eq!(package.kind, Kind::Data);
        Message::decode(package.body.clone()).unwrap()
    }

    proptest! {
        #[test]
        fn messages_survive_the_wire(
            number in 0..1_u32 << 31,
            name in ".{0,60}",
            code: Option<u16>,
            body: Vec<u8>,
        ) {
            let (id, out) = (RawId::new(number), BytesMut::new);
            let route = code.map_or(PushRoute::Name(&name), PushRoute::Code);
            let raw = code.map_or(RawRoute::Name(Bytes::from(name.clone())), RawRoute::Code);
            let bytes = Bytes::from(body.clone());

            let mut request = out();
            encode_request(&id, route, &body, &mut request).unwrap();
            let want = Message::Request { id, route: raw.clone(), body: bytes.clone() };
            prop_assert_eq!(decode(request), want);

            let mut notify = out();
            encode_notify(route, &body, &mut notify).unwrap();
            let want = Message::Notify { route: raw.clone(), body: bytes.clone() };
            prop_assert_eq!(decode(notify), want);

            let mut response = out();
            encode_response(&id, &body, &mut response).unwrap();
            prop_assert_eq!(decode(response), Message::Response { id, body: bytes.clone() });

            let mut push = out();
            encode_push(route, &body, &mut push).unwrap();
            prop_assert_eq!(decode(push), Message::Push { route: raw, body: bytes });
        }

        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            let _ = Message::decode(Bytes::from(data));
        }
    }

    #[test]
    fn a_route_that_does_not_fit_is_refused_and_leaves_no_trace() {
        let mut out = BytesMut::new();
        let name = "a".repeat(ROUTE_LEN_MAX + 1);
        let result = encode_push(PushRoute::Name(&name), b"{}", &mut out);
        assert_eq!((result, out.len()), (Err(TooLong::Route(256)), 0));
    }

    #[test]
    fn a_route_in_another_charset_is_refused() {
        let data = Bytes::from_static(&[0x02, 1, 0xff]);
        assert_eq!(Message::decode(data), Err(DecodeError::RouteNotUtf8));
    }
}
