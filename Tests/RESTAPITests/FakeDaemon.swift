import ControlProtocol
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Rules
import Synchronization

/// The control service over a real unix socket, with a memory instead of a kernel. It refuses what the daemon refuses:
/// unknown interfaces, rules that need what isn't there.
final class FakeDaemon: Sluice_Control_V1_Control.SimpleServiceProtocol {
  struct State {
    var interfaces = ["eth0", "eth1", "eth2"]
    var attachments: [String: Sluice_Control_V1_Attachment] = [:]
    var captures: [Sluice_Control_V1_Capture] = []
    /// Rules that are counted, beside the default.
    var countedRules: [String] = []
    var generation: UInt64 = 0
    var startedAt: UInt64 = 1_700_000_000_000_000_000
    /// Status is told so many times more, then it is away; nil: always.
    var statusesLeft: Int?
    /// Thrown where something is applied, changed or confirmed on the interface.
    var failures: [String: RPCError] = [:]
    var calls: [String] = []
    /// What it keeps of its epoch, 7.
    var events: [Sluice_Control_V1_Event] = []
    /// Thrown by the next Apply that isn't a dry run.
    var changesRules = false
    var applyFailure: RPCError?
    /// Of the last call.
    var trace: RequestTrace?
  }
  private let content = Mutex(State())

  var state: State { content.withLock { $0 } }
  var lastTrace: RequestTrace? { state.trace }
  func change(_ body: (inout State) throws -> Void) rethrows { try content.withLock { try body(&$0) } }

  func getStatus(
    request: Sluice_Control_V1_GetStatusRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetStatusResponse {
    try content.withLock { state in
      state.calls.append("status")
      if let left = state.statusesLeft {
        guard left > 0 else { throw RPCError(code: .unavailable, message: "the daemon is going") }
        state.statusesLeft = left - 1
      }
      return .with {
        $0.version = "0.0.0-fake"
        $0.kernel = "6.18.0"
        $0.startedAtUnixNanos = state.startedAt
        $0.attachments = state.attachments.values.sorted { $0.interface < $1.interface }
        $0.limits = Limits.published
        $0.features = ["xdp_frags": "yes"]
      }
    }
  }

  func listInterfaces(
    request: Sluice_Control_V1_ListInterfacesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListInterfacesResponse {
    content.withLock { state in
      .with {
        $0.interfaces = state.interfaces.enumerated().map { index, name in
          .with {
            $0.name = name
            $0.index = UInt32(index + 2)
            $0.mtu = 1500
            $0.numaNode = -1
            if let attachment = state.attachments[name] { $0.attachment = attachment }
          }
        }
      }
    }
  }

  func attach(
    request: Sluice_Control_V1_AttachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_AttachResponse {
    try content.withLock { state in
      state.calls.append("attach \(request.interface)")
      try Self.checkExists(request.interface, state)
      guard request.options.zeroCopy != .required else {
        throw RPCError(code: .failedPrecondition, message: "the driver of \(request.interface) has no zero-copy")
      }
      if let attached = state.attachments[request.interface], attached.options != request.options {
        throw RPCError(
          code: .alreadyExists, message: "\(request.interface) is attached with other options; detach it first")
      }
      var attachment = state.attachments[request.interface] ?? .init()
      attachment.interface = request.interface
      attachment.options = request.options
      attachment.mode = .native
      attachment.attachedAtUnixNanos = 1_700_000_000_000_000_000
      state.attachments[request.interface] = attachment
      return .with { $0.attachment = attachment }
    }
  }

  func detach(
    request: Sluice_Control_V1_DetachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_DetachResponse {
    try content.withLock { state in
      state.calls.append("detach \(request.interface)")
      guard state.attachments.removeValue(forKey: request.interface) != nil else {
        throw RPCError(code: .notFound, message: "\(request.interface) is not attached")
      }
      return .init()
    }
  }

  func apply(
    request: Sluice_Control_V1_ApplyRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse {
    let ruleSet = try RuleSet(request.ruleSet)
    return try content.withLock { state in
      state.calls.append("apply \(ruleSet.name)@\(ruleSet.revision)\(request.dryRun ? " dry" : "")")
      for interface in request.interfaces where state.attachments[interface] == nil {
        throw RPCError(code: .notFound, message: "\(interface) is not attached")
      }
      for target in ruleSet.rules.compactMap(\.action.redirectInterface) where !state.interfaces.contains(target) {
        throw RPCError(code: .failedPrecondition, message: "there is no interface \(target) to redirect to")
      }
      if !request.dryRun, let failure = state.applyFailure {
        state.applyFailure = nil
        throw failure
      }
      if !request.dryRun, let failure = request.interfaces.compactMap({ state.failures[$0] }).first { throw failure }
      if !request.dryRun {
        state.generation += 1
        for interface in request.interfaces {
          if request.confirmWithinSeconds > 0 {
            let confirmed = state.attachments[interface]?.revision ?? 0
            state.attachments[interface]?.previousRevision = confirmed
            state.attachments[interface]?.confirmByUnixNanos = 1_900_000_000_000_000_000
          }
          state.attachments[interface]?.ruleSet = ruleSet.name
          state.attachments[interface]?.revision = ruleSet.revision
          state.attachments[interface]?.generation = state.generation
        }
      }
      return .with {
        if request.confirmWithinSeconds > 0, !request.dryRun { $0.confirmByUnixNanos = 1_900_000_000_000_000_000 }
        $0.results = request.interfaces.map { interface in
          .with {
            $0.interface = interface
            $0.generation = state.generation
            $0.entries = UInt32(ruleSet.rules.count)
            $0.selfTestPackets = 12
            $0.applySeconds = 0.004
          }
        }
      }
    }
  }

  func getRuleSet(
    request: Sluice_Control_V1_GetRuleSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetRuleSetResponse {
    throw RPCError(code: .unimplemented, message: "the API does not ask for it")
  }

  func getCounters(
    request: Sluice_Control_V1_GetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetCountersResponse {
    try content.withLock { state in
      for interface in request.interfaces where state.attachments[interface] == nil {
        throw RPCError(code: .notFound, message: "\(interface) is not attached")
      }
      let names = request.interfaces.isEmpty ? state.attachments.keys.sorted() : request.interfaces
      return .with {
        $0.interfaces = names.map { name in
          .with {
            $0.interface = name
            $0.ruleSet = state.attachments[name]?.ruleSet ?? ""
            $0.rules = [
              .with {
                $0.rule = "default"
                $0.action = "pass"
                $0.counter = .with { $0.packets = .max }
              }
            ] + state.countedRules.map { rule in .with { $0.rule = rule } }
            $0.actions = [
              "pass": .with {
                $0.packets = 7
                $0.bytes = 420
              }
            ]
          }
        }
      }
    }
  }

  func streamEvents(
    request: Sluice_Control_V1_StreamEventsRequest, response: RPCWriter<Sluice_Control_V1_Event>,
    context: ServerContext
  ) async throws {
    var sent = request.epoch == 7 ? request.afterSequence : 0
    // Until the caller leaves; a handler's own task isn't cancelled.
    let writing = Task {
      while !Task.isCancelled {
        for event in state.events where event.sequence > sent {
          try await response.write(event)
          sent = event.sequence
        }
        try await Task.sleep(for: .milliseconds(20))
      }
    }
    await withRPCCancellationHandler { _ = try? await writing.value } onCancelRPC: { writing.cancel() }
  }

  func startCapture(
    request: Sluice_Control_V1_StartCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StartCaptureResponse {
    try content.withLock { state in
      guard state.attachments[request.interface] != nil else {
        throw RPCError(code: .notFound, message: "\(request.interface) is not attached")
      }
      guard request.path != "unwritable.pcapng" else {
        throw RPCError(
          code: .failedPrecondition, message: "cannot write /captures/unwritable.pcapng: Permission denied")
      }
      let capture = Sluice_Control_V1_Capture.with {
        $0.id = "capture-\(state.captures.count + 1)"
        $0.request = request
        $0.state = .running
        $0.startedAtUnixNanos = 1_700_000_000_000_000_000
      }
      state.captures.append(capture)
      return .with { $0.capture = capture }
    }
  }

  func stopCapture(
    request: Sluice_Control_V1_StopCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StopCaptureResponse {
    try content.withLock { state in
      guard let index = state.captures.firstIndex(where: { $0.id == request.id }) else {
        throw RPCError(code: .notFound, message: "there is no capture \(request.id)")
      }
      state.captures[index].state = .finished
      state.captures[index].packetsReceived = 5
      state.captures[index].packetsWritten = 5
      state.captures[index].finishedAtUnixNanos = 1_700_000_001_000_000_000
      return .with { $0.capture = state.captures[index] }
    }
  }

  func listCaptures(
    request: Sluice_Control_V1_ListCapturesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListCapturesResponse {
    content.withLock { state in .with { $0.captures = state.captures } }
  }

  private static func checkExists(_ interface: String, _ state: State) throws {
    guard state.interfaces.contains(interface) else {
      throw RPCError(code: .notFound, message: "there is no interface \(interface)")
    }
  }

  // MARK: Serving

  /// Serves on a unix socket while `body` runs.
  func serve<Result>(at path: String, _ body: () async throws -> Result) async throws -> Result {
    let transport = HTTP2ServerTransport.Posix(
      address: .unixDomainSocket(path: path), transportSecurity: .plaintext)
    let server = GRPCServer(
      transport: transport, services: [self],
      interceptors: [
        TraceServerInterceptor { [self] _, _, _ in change { $0.trace = RequestTrace.current } }
      ])
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.serve() }
      _ = try await transport.listeningAddress
      defer { server.beginGracefulShutdown() }
      return try await body()
    }
  }
}

extension FakeDaemon {
  func confirm(
    request: Sluice_Control_V1_ConfirmRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ConfirmResponse {
    try change { state in
      for name in request.interfaces {
        guard state.attachments[name]?.confirmByUnixNanos ?? 0 > 0 else {
          throw RPCError(code: .failedPrecondition, message: "nothing on \(name) waits for a confirmation")
        }
        if let failure = state.failures[name] { throw failure }
        state.calls.append("confirm \(name) \(request.ruleSet)@\(request.revision)")
        state.attachments[name]?.confirmByUnixNanos = 0
      }
    }
    return .init()
  }

  func withdraw(
    request: Sluice_Control_V1_WithdrawRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_WithdrawResponse {
    change { state in
      for name in request.interfaces {
        state.attachments[name]?.confirmByUnixNanos = 0
        let confirmed = state.attachments[name]?.previousRevision ?? 0
        state.attachments[name]?.revision = confirmed
      }
    }
    return .init()
  }

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
    .with {
      let options = Sluice_Control_V1_WireOptions.with { ($0.name, $0.a, $0.b) = ("bump", "eth0", "eth1") }
      $0.wires = [.with { $0.options = options; $0.path = .kernel; $0.reason = "asked for" }]
    }
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
