import GRPCCore
import GRPCInProcessTransport
import SwiftProtobuf
import Testing

@testable import ControlProtocol

/// Runs `body` against servers of `services` in this process.
func withServices<Result: Sendable>(
  _ services: [any RegistrableRPCService],
  _ body: @Sendable (GRPCClient<InProcessTransport.Client>) async throws -> Result
) async throws -> Result {
  let transport = InProcessTransport()
  return try await withGRPCServer(transport: transport.server, services: services) { _ in
    try await withGRPCClient(transport: transport.client) { try await body($0) }
  }
}

@Suite("The standard health service", .timeLimit(.minutes(1)))
struct HealthServiceTests {
  private typealias Client = Grpc_Health_V1_Health.Client
  private static let name = "sluice.control.v1.Control"

  @Test("Check tells what was set; an unknown service is NOT_FOUND")
  func check() async throws {
    let health = HealthService(services: [Self.name])
    try await withServices([health]) { client in
      let stub = Client(wrapping: client)
      #expect(try await stub.check(.init()).status == .serving)
      #expect(try await stub.check(.with { $0.service = Self.name }).status == .serving)
      health.set(.notServing, for: Self.name)
      #expect(try await stub.check(.with { $0.service = Self.name }).status == .notServing)
      do {
        _ = try await stub.check(.with { $0.service = "nope" })
        Issue.record("an unknown service was answered")
      } catch let error as RPCError {
        #expect(error.code == .notFound)
      }
      #expect(try await stub.list(.init()).statuses.mapValues(\.status) == ["": .serving, Self.name: .notServing])
    }
  }

  @Test("Watch tells the status now and each change, and ends when its client leaves")
  func watch() async throws {
    let health = HealthService(services: [Self.name])
    try await withServices([health]) { client in
      let seen = try await Client(wrapping: client).watch(.with { $0.service = Self.name }) { response in
        var seen: [HealthService.Status] = []
        for try await message in response.messages {
          seen.append(message.status)
          if seen.count == 1 { health.set(.notServing, for: Self.name) }
          if seen.count == 2 { health.set(.serving, for: Self.name) }
          if seen.count == 3 { break }
        }
        return seen
      }
      #expect(seen == [.serving, .notServing, .serving])
    }
    let deadline = ContinuousClock.now + .seconds(10)
    while health.watcherCount > 0, ContinuousClock.now < deadline { await Task.yield() }
    #expect(health.watcherCount == 0)
  }

  @Test("Watching a service that isn't known yet begins with SERVICE_UNKNOWN")
  func watchUnknown() async throws {
    let health = HealthService()
    try await withServices([health]) { client in
      let seen = try await Client(wrapping: client).watch(.with { $0.service = "later" }) { response in
        var seen: [HealthService.Status] = []
        for try await message in response.messages {
          seen.append(message.status)
          if seen.count == 1 { health.set(.serving, for: "later") } else { break }
        }
        return seen
      }
      #expect(seen == [.serviceUnknown, .serving])
    }
  }

  @Test("After the shutdown began nothing serves any more, whatever is set")
  func shutdown() async throws {
    let health = HealthService(services: [Self.name])
    health.beginShutdown()
    health.set(.serving, for: Self.name)
    try await withServices([health]) { client in
      let statuses = try await Client(wrapping: client).list(.init()).statuses
      #expect(statuses.mapValues(\.status) == ["": .notServing, Self.name: .notServing])
    }
  }
}

@Suite("The standard reflection service", .timeLimit(.minutes(1)))
struct ReflectionServiceTests {
  typealias Request = Grpc_Reflection_V1_ServerReflectionRequest
  typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

  /// One answer for each request, in order.
  private func answers(_ requests: [Request.OneOf_MessageRequest?]) async throws -> [Response] {
    try await withServices([ReflectionService()]) { client in
      try await Grpc_Reflection_V1_ServerReflection.Client(wrapping: client).serverReflectionInfo { writer in
        for request in requests { try await writer.write(.with { $0.messageRequest = request }) }
      } onResponse: { response in
        try await response.messages.reduce(into: []) { $0.append($1) }
      }
    }
  }

  @Test("Lists the services of this project")
  func services() async throws {
    let answers = try await answers([.listServices("")])
    #expect(
      answers.first?.listServicesResponse.service.map(\.name).sorted() == [
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
        "sluice.control.v1.Control",
      ])
  }

  @Test(
    "A symbol leads to the file that declares it",
    arguments: [
      ("sluice.control.v1.Control", "sluice/control/v1/control.proto"),
      ("sluice.control.v1.Control.Apply", "sluice/control/v1/control.proto"),
      ("sluice.control.v1.ApplyResponse.Result", "sluice/control/v1/control.proto"),
      ("sluice.control.v1.Rule.name", "sluice/control/v1/rules.proto"),
      ("sluice.control.v1.FATE_DROP", "sluice/control/v1/rules.proto"),
      ("sluice.control.v1.WireSide.received", "sluice/control/v1/wire.proto"),
      ("grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"),
      ("grpc.reflection.v1.ServerReflectionRequest.message_request", "grpc/reflection/v1/reflection.proto"),
    ])
  func symbol(_ symbol: String, _ file: String) async throws {
    let answers = try await answers([.fileContainingSymbol(symbol), .fileByFilename(file)])
    for answer in answers {
      let files = try answer.fileDescriptorResponse.fileDescriptorProto.map {
        try Google_Protobuf_FileDescriptorProto(serializedBytes: $0)
      }
      // The file itself first, then everything that it imports, once each.
      #expect(files.first?.name == file)
      #expect(Set(files.map(\.name)).count == files.count)
      for imported in files.flatMap(\.dependency) { #expect(files.contains { $0.name == imported }) }
    }
  }

  @Test(
    "What isn't there is an answer with a code, and the stream goes on",
    arguments: [
      (Request.OneOf_MessageRequest.fileByFilename("../../etc/passwd"), RPCError.Code.notFound),
      (.fileContainingSymbol("sluice.control.v1.Nothing"), .notFound), (.fileContainingSymbol(""), .notFound),
      (.fileContainingExtension(.init()), .notFound), (.allExtensionNumbersOfType("nope"), .notFound),
    ])
  func unknown(_ request: Request.OneOf_MessageRequest, _ code: RPCError.Code) async throws {
    let answers = try await answers([request, nil, .listServices("*")])
    let codes = answers.map { Int($0.errorResponse.errorCode) }
    #expect(codes == [code.rawValue, RPCError.Code.invalidArgument.rawValue, 0])
    #expect(answers.last?.listServicesResponse.service.count == 4)
  }

  @Test("A message type without extensions has an empty list of them")
  func extensionNumbers() async throws {
    let answers = try await answers([.allExtensionNumbersOfType("sluice.control.v1.Rule")])
    #expect(answers.first?.allExtensionNumbersResponse.baseTypeName == "sluice.control.v1.Rule")
    #expect(answers.first?.allExtensionNumbersResponse.extensionNumber == [])
  }

  @Test("The alpha package answers the same bytes as v1")
  func alpha() async throws {
    let request = Grpc_Reflection_V1alpha_ServerReflectionRequest.with {
      $0.host = "h"
      $0.fileContainingSymbol = "sluice.control.v1.Rule"
    }
    let alpha = try await withServices([ReflectionServiceAlpha()]) { client in
      try await Grpc_Reflection_V1alpha_ServerReflection.Client(wrapping: client).serverReflectionInfo { writer in
        try await writer.write(request)
      } onResponse: { response in
        try await response.messages.reduce(into: []) { $0.append($1) }
      }
    }
    #expect(alpha.count == 1)
    #expect(alpha.first?.validHost == "h")
    let v1 = try await answers([.fileContainingSymbol("sluice.control.v1.Rule")])
    let files = v1.first?.fileDescriptorResponse.fileDescriptorProto
    #expect(alpha.first?.fileDescriptorResponse.fileDescriptorProto == files)
  }
}
