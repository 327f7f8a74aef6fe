import ControlProtocol
import Foundation
import GRPCCore
import GRPCInProcessTransport
import GRPCNIOTransportHTTP2Posix
import Rules
import Testing

/// A daemon that answers Apply with what it was asked and refuses everything else in a known way.
private struct EchoDaemon: Sluice_Control_V1_Control.SimpleServiceProtocol {
  func apply(
    request: Sluice_Control_V1_ApplyRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse {
    let ruleSet = try RuleSet(request.ruleSet)
    return .with {
      $0.results = request.interfaces.map { name in
        .with { ($0.interface, $0.entries) = (name, UInt32(ruleSet.rules.count)) }
      }
      $0.warnings = request.dryRun ? ["dry run"] : []
    }
  }

  func detach(
    request: Sluice_Control_V1_DetachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_DetachResponse {
    throw RPCError(code: .notFound, message: "\(request.interface) is not attached")
  }

  func getStatus(
    request: Sluice_Control_V1_GetStatusRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetStatusResponse {
    throw RPCError(code: .unavailable, message: "sluiced is shutting down")
  }

  func getCounters(
    request: Sluice_Control_V1_GetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetCountersResponse {
    // Never answers: the caller's deadline ends it.
    let (forever, continuation) = AsyncStream<Void>.makeStream()
    await withRPCCancellationHandler {
      for await _ in forever {}
    } onCancelRPC: {
      continuation.finish()
    }
    throw RPCError(code: .cancelled, message: "the caller left")
  }

  func streamEvents(
    request: Sluice_Control_V1_StreamEventsRequest, response: RPCWriter<Sluice_Control_V1_Event>,
    context: ServerContext
  ) async throws {
    for sequence in UInt64(1)...3 {
      try await response.write(.with { ($0.sequence, $0.kind) = (sequence, request.kinds.first ?? "any") })
    }
  }

  func listInterfaces(
    request: Sluice_Control_V1_ListInterfacesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListInterfacesResponse {
    .with { $0.interfaces = [.with { $0.name = "eth0" }] }
  }

  private func unused() -> RPCError { RPCError(code: .unimplemented, message: "") }
  func attach(
    request: Sluice_Control_V1_AttachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_AttachResponse { throw unused() }
  func getRuleSet(
    request: Sluice_Control_V1_GetRuleSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetRuleSetResponse { throw unused() }
  func startCapture(
    request: Sluice_Control_V1_StartCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StartCaptureResponse { throw unused() }
  func stopCapture(
    request: Sluice_Control_V1_StopCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StopCaptureResponse { throw unused() }
  func listCaptures(
    request: Sluice_Control_V1_ListCapturesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListCapturesResponse { throw unused() }
}

@Suite("The client of the daemon", .timeLimit(.minutes(1)))
struct ControlClientTests {
  private func withClient(
    _ body: @Sendable (ControlClient<InProcessTransport.Client>) async throws -> Void
  ) async throws {
    try await withServices([EchoDaemon()]) { try await body(ControlClient(wrapping: $0, address: .standard)) }
  }

  @Test("A rule set arrives whole and its answer comes back")
  func apply() async throws {
    try await withClient { client in
      let set = RuleSet(name: "s", rules: [Rule(name: "r", action: .redirect(interface: "eth1"))])
      let answer = try await client.apply(set, to: ["eth0", "eth2"], dryRun: true)
      #expect(answer.results.map(\.interface) == ["eth0", "eth2"])
      #expect(answer.results.map(\.entries) == [1, 1])
      #expect(answer.warnings == ["dry run"])
    }
  }

  @Test("A change of a set of more elements than one message has goes in parts, each with at most so many")
  func parts() async throws {
    try await withClient { client in
      let elements = (0..<25_000).map { "10.0.\($0 / 250).\($0 % 250)" }
      let answer = try await client.changeSet("bad", of: "edge", inserted: elements, removed: ["192.0.2.1"])
      #expect(answer.results.map(\.changed) == [4] && answer.results.map(\.elements) == [25_001])
      let few = await #expect(throws: ControlError.self) {
        try await client.changeSet("bad", of: "edge", inserted: Array(elements.prefix(9999)), removed: ["192.0.2.1"])
      }
      #expect(few?.message.contains("applied nowhere") == true)
    }
  }

  @Test("A change of one rule says which goes, which comes, and where")
  func rules() async throws {
    try await withClient { client in
      let drop = Rule(name: "new", action: .drop)
      let answer = try await client.changeRule(
        RuleChange(removed: "old", inserted: drop, before: "next"), of: "edge", on: ["lan0"], fromRevision: 2, toRevision: 3)
      #expect(answer.warnings == ["old new next 2 3"] && answer.results.map(\.interface) == ["lan0"])
      let last = try await client.changeRule(
        RuleChange(inserted: drop), of: "edge", on: [], fromRevision: 0, toRevision: 0)
      #expect(last.warnings == [" new - 0 0"])
    }
  }

  @Test("A refusal keeps the daemon's code and words; its UNAVAILABLE is not taken for a missing socket")
  func refusals() async throws {
    try await withClient { client in
      let missing = await #expect(throws: ControlError.self) { try await client.detach("eth9") }
      #expect(missing == ControlError(.notFound, "eth9 is not attached"))
      let leaving = await #expect(throws: ControlError.self) { try await client.status() }
      #expect(leaving == ControlError(.unavailable, "sluiced is shutting down"))
      let old = await #expect(throws: ControlError.self) { try await client.captures() }
      #expect(old?.message.contains("older") == true)
    }
  }

  @Test("A daemon that doesn't answer is given up after the timeout")
  func timeout() async throws {
    try await withClient { client in
      let hasty = {
        var hasty = client
        hasty.timeout = .milliseconds(50)
        return hasty
      }()
      let error = await #expect(throws: ControlError.self) { try await hasty.counters() }
      #expect(error?.code == .deadlineExceeded)
      #expect(error?.isUnreachable == true)
    }
  }

  @Test("Events come in order until the daemon ends the stream")
  func events() async throws {
    try await withClient { client in
      let (sequences, continuation) = AsyncStream<UInt64>.makeStream()
      try await client.events(kinds: ["applied"]) { event in
        #expect(event.kind == "applied")
        continuation.yield(event.sequence)
      }
      continuation.finish()
      #expect(await sequences.reduce(into: []) { $0.append($1) } == [1, 2, 3])
    }
  }

  @Test("Over a real socket: answers, and says what is wrong where there is no daemon")
  func socket() async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "sluice-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let address = try ControlAddress(parsing: "unix:\(folder.path)/d.sock")

    func interfaces() async throws -> [String] {
      let transport: HTTP2ClientTransport.Posix = try .http2NIOPosix(
        target: .unixDomainSocket(path: address.socketPath), transportSecurity: .plaintext)
      return try await withGRPCClient(transport: transport) { client in
        try await ControlClient(wrapping: client, address: address).interfaces().map(\.name)
      }
    }
    let missing = await #expect(throws: ControlError.self) { try await interfaces() }
    #expect(missing?.code == .unavailable)
    #expect(missing?.message.contains("no socket") == true, "\(missing!)")

    let server: HTTP2ServerTransport.Posix = .http2NIOPosix(
      address: .unixDomainSocket(path: address.socketPath), transportSecurity: .plaintext)
    try await withGRPCServer(transport: server, services: [EchoDaemon()]) { server in
      _ = try await server.listeningAddress
      #expect(try await interfaces() == ["eth0"])
    }
    // What a killed daemon leaves: a file that nobody listens on.
    #expect(FileManager.default.createFile(atPath: address.socketPath, contents: nil))
    let dead = await #expect(throws: ControlError.self) { try await interfaces() }
    #expect(dead?.message.contains("nobody answers") == true, "\(dead!)")
  }

  @Test(
    "An address is a path of a unix socket", arguments: ["unix:/run/a.sock", "unix:///run/a.sock", "/run/a.sock"])
  func address(_ text: String) throws {
    #expect(try ControlAddress(parsing: text).socketPath == "/run/a.sock")
    #expect(try ControlAddress(parsing: text).description == "unix:/run/a.sock")
  }

  @Test(
    "What isn't one is refused",
    arguments: [
      "", "unix:", "/", "relative.sock", "unix:relative", "tcp:127.0.0.1:1", "//host/x", "/a\0b",
      "/" + String(repeating: "x", count: 107),
    ])
  func badAddress(_ text: String) {
    #expect(throws: ControlError.self) { try ControlAddress(parsing: text) }
  }
}

extension EchoDaemon {
  func createWire(
    request: Sluice_Control_V1_CreateWireRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_CreateWireResponse {
    .with { $0.wire.options = request.options }
  }

  func deleteWire(
    request: Sluice_Control_V1_DeleteWireRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_DeleteWireResponse {
    throw RPCError(code: .notFound, message: "there is no wire \(request.name)")
  }

  func listWires(
    request: Sluice_Control_V1_ListWiresRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListWiresResponse {
    .with { $0.wires = [.with { $0.options.name = "bump"; $0.path = .kernel; $0.reason = "asked for" }] }
  }

  func changeRule(
    request: Sluice_Control_V1_ChangeRuleRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse {
    let (comes, before) = (request.hasInserted ? request.inserted.name : "-", request.before.isEmpty ? "-" : request.before)
    return .with {
      $0.warnings = ["\(request.removed) \(comes) \(before) \(request.fromRevision) \(request.toRevision)"]
      $0.results = request.interfaces.map { name in .with { ($0.interface, $0.inPlace) = (name, true) } }
    }
  }

  func changeSet(
    request: Sluice_Control_V1_ChangeSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    throw RPCError(code: .notFound, message: "the rule set \(request.ruleSet) is applied nowhere")
  }

  func getSetCounters(
    request: Sluice_Control_V1_GetSetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetSetCountersResponse {
    .init()
  }

  func changeSetInParts(
    request: RPCAsyncSequence<Sluice_Control_V1_ChangeSetRequest, any Error>, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    var (changed, total): (UInt32, UInt32) = (0, 0)
    for try await part in request {
      changed += 1
      total += UInt32(part.inserted.count + part.removed.count)
    }
    return .with { [changed, total] in $0.results = [.with { ($0.changed, $0.elements) = (changed, total) }] }
  }

  func confirm(
    request: Sluice_Control_V1_ConfirmRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ConfirmResponse {
    throw RPCError(code: .failedPrecondition, message: "nothing on \(request.interfaces) waits for a confirmation")
  }

  func withdraw(
    request: Sluice_Control_V1_WithdrawRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_WithdrawResponse {
    .init()
  }

  func topFlows(
    request: Sluice_Control_V1_TopFlowsRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_TopFlowsResponse {
    .with {
      $0.complete = true
      $0.flows = [.with { $0.source = "192.0.2.1"; $0.protocol = "udp"; $0.packets = 7; $0.bytes = UInt64(request.limit) }]
    }
  }

  func streamCapture(
    request: Sluice_Control_V1_StreamCaptureRequest, response: RPCWriter<Sluice_Control_V1_StreamCaptureResponse>,
    context: ServerContext
  ) async throws {
    try await response.write(.with { $0.capture.id = "c1" })
    try await response.write(.with { $0.data = .init([0x0a, 0x0d, 0x0d, 0x0a]) })
  }
}
