public import GRPCCore
public import Rules

/// What both ends of the control channel hold to.
public enum ControlLimits {
  /// Longest message, bytes: a full rule set, or its counters, with room to spare.
  public static let messageByteCountMax = 64 << 20
}

/// The calls to one daemon, with timeouts and with errors in words. Any thread.
///
/// The caller owns the transport and runs its connections: `withGRPCClient(transport:)` for a command,
/// `runConnections()` in a task for a service. A call doesn't wait for a daemon that isn't there: it fails with
/// ``ControlError/isUnreachable``.
public struct ControlClient<Transport: ClientTransport>: Sendable {
  public let address: ControlAddress
  /// For every call but the ones that compile, attach or write files.
  public var timeout: Duration = .seconds(5)
  /// For Attach, Detach, Apply, StartCapture and StopCapture.
  public var changeTimeout: Duration = .seconds(30)

  /// The generated client, for what isn't covered here.
  public let rpc: Sluice_Control_V1_Control.Client<Transport>

  public init(wrapping client: GRPCClient<Transport>, address: ControlAddress) {
    self.address = address
    rpc = Sluice_Control_V1_Control.Client(wrapping: client)
  }

  /// Runs `body` with options that carry `timeout` (nil: none) and turns what it throws into a ``ControlError``.
  private func call<Response: Sendable>(
    timeout: Duration?, _ body: (CallOptions) async throws -> Response
  ) async throws(ControlError) -> Response {
    var options = CallOptions.defaults
    options.timeout = timeout
    options.waitForReady = false
    options.maxRequestMessageBytes = ControlLimits.messageByteCountMax
    options.maxResponseMessageBytes = ControlLimits.messageByteCountMax
    do {
      return try await body(options)
    } catch {
      throw ControlError(error, calling: address, timeout: timeout)
    }
  }

  public func status() async throws(ControlError) -> Sluice_Control_V1_GetStatusResponse {
    try await call(timeout: timeout) { try await rpc.getStatus(.init(), options: $0) }
  }

  public func interfaces() async throws(ControlError) -> [Sluice_Control_V1_Interface] {
    try await call(timeout: timeout) { try await rpc.listInterfaces(.init(), options: $0).interfaces }
  }

  public func attach(
    _ interface: String, options: Sluice_Control_V1_AttachOptions
  ) async throws(ControlError) -> Sluice_Control_V1_Attachment {
    let request = Sluice_Control_V1_AttachRequest.with {
      $0.interface = interface
      $0.options = options
    }
    return try await call(timeout: changeTimeout) { try await rpc.attach(request, options: $0).attachment }
  }

  public func detach(_ interface: String) async throws(ControlError) {
    try await call(timeout: changeTimeout) { options in
      _ = try await rpc.detach(.with { $0.interface = interface }, options: options)
    }
  }

  public func apply(
    _ ruleSet: RuleSet, to interfaces: [String], dryRun: Bool = false, confirmWithinSeconds: UInt32 = 0
  ) async throws(ControlError) -> Sluice_Control_V1_ApplyResponse {
    let request = Sluice_Control_V1_ApplyRequest.with {
      $0.ruleSet = Sluice_Control_V1_RuleSet(ruleSet)
      $0.interfaces = interfaces
      $0.dryRun = dryRun
      $0.confirmWithinSeconds = confirmWithinSeconds
    }
    return try await call(timeout: changeTimeout) { try await rpc.apply(request, options: $0) }
  }

  /// Changes one rule of what is applied on interfaces.
  ///
  /// - Parameters:
  ///   - fromRevision: What must be applied there; 0: any.
  ///   - toRevision: What is, from then on; 0: as before.
  public func changeRule(
    _ change: RuleChange, of ruleSet: String, on interfaces: [String], fromRevision: UInt64, toRevision: UInt64
  ) async throws(ControlError) -> Sluice_Control_V1_ApplyResponse {
    let request = Sluice_Control_V1_ChangeRuleRequest.with {
      ($0.ruleSet, $0.interfaces, $0.removed) = (ruleSet, interfaces, change.removed ?? "")
      if let rule = change.inserted { $0.inserted = Sluice_Control_V1_Rule(rule) }
      ($0.before, $0.fromRevision, $0.toRevision) = (change.before ?? "", fromRevision, toRevision)
    }
    return try await call(timeout: changeTimeout) { try await rpc.changeRule(request, options: $0) }
  }

  /// Changes elements of a set of what is applied, wherever it is or on interfaces.
  ///
  /// - Parameters:
  ///   - fromRevision: What must be applied there; 0: any.
  ///   - toRevision: What is, from then on; 0: as before.
  public func changeSet(
    _ set: String, of ruleSet: String, inserted: [String], removed: [String], on interfaces: [String] = [],
    fromRevision: UInt64 = 0, toRevision: UInt64 = 0
  ) async throws(ControlError) -> Sluice_Control_V1_ChangeSetResponse {
    let request = Sluice_Control_V1_ChangeSetRequest.with {
      ($0.set, $0.ruleSet, $0.interfaces) = (set, ruleSet, interfaces)
      ($0.fromRevision, $0.toRevision) = (fromRevision, toRevision)
    }
    guard inserted.count + removed.count > Self.changeElementCountMax else {
      let whole = request.part(inserted[...], removed[...])
      return try await call(timeout: changeTimeout) { try await rpc.changeSet(whole, options: $0) }
    }
    return try await call(timeout: changeTimeout * 4) { options in
      try await rpc.changeSetInParts(options: options) { writer in
        // Those that go in the first parts, and those that come behind them.
        for start in stride(from: 0, to: removed.count, by: Self.changeElementCountMax) {
          try await writer.write(request.part([], removed.part(from: start, Self.changeElementCountMax)))
        }
        for start in stride(from: 0, to: inserted.count, by: Self.changeElementCountMax) {
          try await writer.write(request.part(inserted.part(from: start, Self.changeElementCountMax), []))
        }
      }
    }
  }

  /// Elements of one message; more of them are sent in parts.
  private static var changeElementCountMax: Int { 10_000 }

  /// What was applied with `confirmWithinSeconds` stands from now on.
  ///
  /// - Parameters:
  ///   - ruleSet: Refused where another one waits meanwhile, or another revision; empty: whatever waits.
  public func confirm(
    _ interfaces: [String], ofRuleSet ruleSet: String = "", revision: UInt64 = 0
  ) async throws(ControlError) {
    try await call(timeout: changeTimeout) { options in
      _ = try await rpc.confirm(
        .with { ($0.interfaces, $0.ruleSet, $0.revision) = (interfaces, ruleSet, revision) }, options: options)
    }
  }

  /// What stood before comes back now.
  public func withdraw(
    _ interfaces: [String], ofRuleSet ruleSet: String = "", revision: UInt64 = 0
  ) async throws(ControlError) {
    try await call(timeout: changeTimeout) { options in
      _ = try await rpc.withdraw(
        .with { ($0.interfaces, $0.ruleSet, $0.revision) = (interfaces, ruleSet, revision) }, options: options)
    }
  }

  public func ruleSet(of interface: String) async throws(ControlError) -> Sluice_Control_V1_GetRuleSetResponse {
    try await call(timeout: timeout) { options in
      try await rpc.getRuleSet(.with { $0.interface = interface }, options: options)
    }
  }

  /// Of all attached interfaces where none is named.
  public func counters(
    of interfaces: [String] = []
  ) async throws(ControlError) -> [Sluice_Control_V1_InterfaceCounters] {
    try await call(timeout: timeout) { options in
      try await rpc.getCounters(.with { $0.interfaces = interfaces }, options: options).interfaces
    }
  }

  /// What elements of a set have counted.
  ///
  /// - Parameters:
  ///   - elements: At most 10,000.
  ///   - top: So many that have counted the most, instead.
  ///   - interfaces: Where the rule set is applied; empty: wherever it is.
  public func setCounters(
    _ set: String, of ruleSet: String, elements: [String] = [], top: UInt32 = 0, on interfaces: [String] = []
  ) async throws(ControlError) -> Sluice_Control_V1_GetSetCountersResponse {
    let request = Sluice_Control_V1_GetSetCountersRequest.with {
      ($0.set, $0.ruleSet, $0.elements, $0.top, $0.interfaces) = (set, ruleSet, elements, top, interfaces)
    }
    return try await call(timeout: changeTimeout) { try await rpc.getSetCounters(request, options: $0) }
  }

  public func startCapture(
    _ request: Sluice_Control_V1_StartCaptureRequest
  ) async throws(ControlError) -> Sluice_Control_V1_Capture {
    try await call(timeout: changeTimeout) { try await rpc.startCapture(request, options: $0).capture }
  }

  public func stopCapture(_ id: String) async throws(ControlError) -> Sluice_Control_V1_Capture {
    try await call(timeout: changeTimeout) { options in
      try await rpc.stopCapture(.with { $0.id = id }, options: options).capture
    }
  }

  public func captures() async throws(ControlError) -> [Sluice_Control_V1_Capture] {
    try await call(timeout: timeout) { try await rpc.listCaptures(.init(), options: $0).captures }
  }

  public func createWire(_ options: Sluice_Control_V1_WireOptions) async throws(ControlError) -> Sluice_Control_V1_Wire {
    try await call(timeout: changeTimeout) { call in
      try await rpc.createWire(.with { $0.options = options }, options: call).wire
    }
  }

  public func deleteWire(_ name: String) async throws(ControlError) {
    try await call(timeout: changeTimeout) { options in
      _ = try await rpc.deleteWire(.with { $0.name = name }, options: options)
    }
  }

  public func wires() async throws(ControlError) -> [Sluice_Control_V1_Wire] {
    try await call(timeout: timeout) { try await rpc.listWires(.init(), options: $0).wires }
  }

  /// - Parameter limit: 0: the daemon's choice.
  public func topFlows(
    of wire: String, limit: UInt32 = 0, by order: Sluice_Control_V1_FlowOrder = .unspecified
  ) async throws(ControlError) -> Sluice_Control_V1_TopFlowsResponse {
    let request = Sluice_Control_V1_TopFlowsRequest.with {
      $0.wire = wire
      $0.limit = limit
      $0.order = order
    }
    return try await call(timeout: changeTimeout) { try await rpc.topFlows(request, options: $0) }
  }

  /// Gives `body` the parts of a capture's stream until the capture is over, `body` throws or the task is cancelled; then
  /// the daemon ends the capture.
  public func streamCapture(
    _ request: Sluice_Control_V1_StartCaptureRequest,
    _ body: @escaping @Sendable (Sluice_Control_V1_StreamCaptureResponse) async throws -> Void
  ) async throws(ControlError) {
    try await call(timeout: nil) { options in
      try await rpc.streamCapture(.with { $0.capture = request }, options: options) { response in
        for try await part in response.messages { try await body(part) }
      }
    }
  }

  /// Gives `body` every event until the daemon ends the stream, `body` throws or the task is cancelled.
  ///
  /// - Parameters:
  ///   - after: The last event that is known: first of all what the daemon keeps behind it. nil: only what happens from now on.
  ///   - pastOnly: End after what the daemon keeps.
  public func events(
    kinds: [String] = [], after: (epoch: UInt64, sequence: UInt64)? = nil, pastOnly: Bool = false,
    _ body: @escaping @Sendable (Sluice_Control_V1_Event) async throws -> Void
  ) async throws(ControlError) {
    let request = Sluice_Control_V1_StreamEventsRequest.with {
      $0.kinds = kinds
      if let after { ($0.epoch, $0.afterSequence) = (after.epoch, after.sequence) }
      $0.pastOnly = pastOnly
    }
    try await call(timeout: nil) { options in
      try await rpc.streamEvents(request, options: options) { response in
        for try await event in response.messages { try await body(event) }
      }
    }
  }
}

extension [String] {
  fileprivate func part(from start: Int, _ most: Int) -> ArraySlice<String> { self[start..<Swift.min(start + most, count)] }
}

extension Sluice_Control_V1_ChangeSetRequest {
  /// The same with these elements.
  fileprivate func part(_ inserted: ArraySlice<String>, _ removed: ArraySlice<String>) -> Self {
    var part = self
    (part.inserted, part.removed) = (Array(inserted), Array(removed))
    return part
  }
}
