//! What every gRPC server of ours has beside its own services.

use tonic::server::NamedService;
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthReporter};
use tonic_reflection::server::{v1, v1alpha};

/// Health by service name (`grpc.health.v1`), and of the whole process under "".
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    /// Makes the reporter and the service that answers from it.
    #[must_use]
    pub fn new() -> (Self, HealthServer<impl tonic_health::pb::health_server::Health>) {
        let (reporter, server) = tonic_health::server::health_reporter();
        (Self(reporter), server)
    }

    /// Says that service `S` serves, or not any more.
    pub async fn set<S: NamedService>(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.set_service_status(S::NAME, status).await;
        self.0.set_service_status("", status).await;
    }

    /// Says that service `S` does not serve any more, and ends the watches of it:
    /// they would keep the server from ending.
    pub async fn end<S: NamedService>(&mut self) {
        self.set::<S>(false).await;
        self.0.clear_service_status(S::NAME).await;
        self.0.clear_service_status("").await;
    }
}

/// Reflection in both versions, so that every grpcurl works without proto files.
///
/// # Panics
///
/// Never: the descriptors were made by our own build.
#[must_use]
pub fn reflection(
    services: &[&str],
) -> (
    v1::ServerReflectionServer<impl v1::ServerReflection>,
    v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
) {
    reflection_of(crate::DESCRIPTORS, services)
}

/// As [`reflection`], for services whose protos are not in `/proto`: `descriptors` is
/// their encoded `FileDescriptorSet`.
///
/// # Panics
///
/// If `descriptors` are not well-formed; those that a build script wrote are.
#[must_use]
pub fn reflection_of(
    descriptors: &'static [u8],
    services: &[&str],
) -> (
    v1::ServerReflectionServer<impl v1::ServerReflection>,
    v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
) {
    let build = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        services
            .iter()
            .fold(builder, |builder, service| builder.with_service_name(*service))
            .with_service_name("grpc.health.v1.Health")
    };
    let built = "what a build wrote is well-formed";
    (build().build_v1().expect(built), build().build_v1alpha().expect(built))
}
