import ControlProtocol
import Rules
import Storage

// The calls of the control protocol, in the words of the store.
extension NodeClients {
  func status(_ node: Node) async throws(NodeCallError) -> Sluice_Control_V1_GetStatusResponse {
    try await call(node) { client throws(ControlError) in try await client.status() }
  }

  func interfaces(_ node: Node) async throws(NodeCallError) -> [Sluice_Control_V1_Interface] {
    try await call(node) { client throws(ControlError) in try await client.interfaces() }
  }

  /// - Parameter interface: nil for all attached ones.
  func counters(
    _ node: Node, interface: String?
  ) async throws(NodeCallError) -> [Sluice_Control_V1_InterfaceCounters] {
    try await call(node) { client throws(ControlError) in
      try await client.counters(of: interface.map { [$0] } ?? [])
    }
  }

  func attach(
    _ node: Node, interface: String, _ options: AttachmentOptions
  ) async throws(NodeCallError) -> Sluice_Control_V1_Attachment {
    try await call(node) { client throws(ControlError) in
      try await client.attach(interface, options: .init(options))
    }
  }

  func detach(_ node: Node, interface: String) async throws(NodeCallError) {
    try await call(node) { client throws(ControlError) in try await client.detach(interface) }
  }

  func apply(
    _ node: Node, interfaces: [String], _ content: RuleSet, isDryRun: Bool = false, confirmWithinSeconds: UInt32 = 0
  ) async throws(NodeCallError) -> Sluice_Control_V1_ApplyResponse {
    try await call(node) { client throws(ControlError) in
      try await client.apply(
        content, to: interfaces, dryRun: isDryRun, confirmWithinSeconds: confirmWithinSeconds)
    }
  }

  /// Nil where the daemon runs another revision than the one that the change begins with, or is older than such changes: the
  /// whole is to be applied.
  func changeRule(
    _ node: Node, interfaces: [String], _ change: RuleChange, of content: RuleSet, fromRevision: UInt64
  ) async throws(NodeCallError) -> Sluice_Control_V1_ApplyResponse? {
    do throws(NodeCallError) {
      return try await call(node) { client throws(ControlError) in
        try await client.changeRule(
          change, of: content.name, on: interfaces, fromRevision: fromRevision, toRevision: content.revision)
      }
    } catch where error.cause.code == .failedPrecondition || error.cause.code == .unimplemented {
      return nil
    }
  }

  func changeSet(
    _ node: Node, interfaces: [String], _ set: String, of content: RuleSet, inserted: [String], removed: [String]
  ) async throws(NodeCallError) -> Sluice_Control_V1_ChangeSetResponse {
    try await call(node) { client throws(ControlError) in
      try await client.changeSet(
        set, of: content.name, inserted: inserted, removed: removed, on: interfaces,
        fromRevision: content.revision - 1, toRevision: content.revision)
    }
  }

  /// Of the top instead, where no elements are named.
  func setCounters(
    _ node: Node, _ set: String, of ruleSet: String, elements: [String] = [], top: UInt32 = 0
  ) async throws(NodeCallError) -> Sluice_Control_V1_GetSetCountersResponse {
    try await call(node) { client throws(ControlError) in
      try await client.setCounters(set, of: ruleSet, elements: elements, top: top)
    }
  }

  /// Refused where the interfaces have something else on trial meanwhile.
  func confirm(
    _ node: Node, interfaces: [String], of ruleSet: String, revision: UInt64
  ) async throws(NodeCallError) {
    try await call(node) { client throws(ControlError) in
      try await client.confirm(interfaces, ofRuleSet: ruleSet, revision: revision)
    }
  }

  /// As ``confirm(_:interfaces:of:revision:)``.
  func withdraw(
    _ node: Node, interfaces: [String], of ruleSet: String, revision: UInt64
  ) async throws(NodeCallError) {
    try await call(node) { client throws(ControlError) in
      try await client.withdraw(interfaces, ofRuleSet: ruleSet, revision: revision)
    }
  }

  func startCapture(
    _ node: Node, interface: String, _ capture: CaptureRequest
  ) async throws(NodeCallError) -> Sluice_Control_V1_Capture {
    try await call(node) { client throws(ControlError) in
      try await client.startCapture(.init(interface: interface, capture))
    }
  }

  func stopCapture(_ node: Node, id: String) async throws(NodeCallError) -> Sluice_Control_V1_Capture {
    try await call(node) { client throws(ControlError) in try await client.stopCapture(id) }
  }

  func createWire(
    _ node: Node, _ options: Sluice_Control_V1_WireOptions
  ) async throws(NodeCallError) -> Sluice_Control_V1_Wire {
    try await call(node) { client throws(ControlError) in try await client.createWire(options) }
  }

  func deleteWire(_ node: Node, name: String) async throws(NodeCallError) {
    try await call(node) { client throws(ControlError) in try await client.deleteWire(name) }
  }

  func wires(_ node: Node) async throws(NodeCallError) -> [Sluice_Control_V1_Wire] {
    try await call(node) { client throws(ControlError) in try await client.wires() }
  }

  func topFlows(
    _ node: Node, wire: String, limit: UInt32, order: Sluice_Control_V1_FlowOrder
  ) async throws(NodeCallError) -> Sluice_Control_V1_TopFlowsResponse {
    try await call(node) { client throws(ControlError) in try await client.topFlows(of: wire, limit: limit, by: order) }
  }

  /// Until the capture is over, or the task is cancelled; then the daemon ends it.
  func streamCapture(
    _ node: Node, _ request: Sluice_Control_V1_StartCaptureRequest,
    _ body: @escaping @Sendable (Sluice_Control_V1_StreamCaptureResponse) async throws -> Void
  ) async throws(NodeCallError) {
    try await call(node) { client throws(ControlError) in try await client.streamCapture(request, body) }
  }

  /// Until the daemon ends, `body` throws or the task is cancelled. First of all what the daemon keeps behind `after`.
  func events(
    _ node: Node, after: EventPosition,
    _ body: @escaping @Sendable (Sluice_Control_V1_Event) async throws -> Void
  ) async throws(NodeCallError) {
    try await call(node) { client throws(ControlError) in
      try await client.events(after: (after.epoch, after.sequence), body)
    }
  }

  func captures(_ node: Node) async throws(NodeCallError) -> [Sluice_Control_V1_Capture] {
    try await call(node) { client throws(ControlError) in try await client.captures() }
  }
}

extension Sluice_Control_V1_AttachOptions {
  init(_ options: AttachmentOptions) {
    self.init(
      mode: options.mode.rawValue, zeroCopy: options.zeroCopy.rawValue, coexistence: options.coexistence.rawValue,
      captureFallback: options.captureFallback, keepOnExit: options.keepOnExit)
  }
}

extension Sluice_Control_V1_StartCaptureRequest {
  init(interface: String, _ capture: CaptureRequest) {
    self.init()
    self.interface = interface
    path = capture.path ?? ""
    snapLength = capture.snapLength
    sampleEvery = capture.sampleEvery
    packetLimit = capture.packetLimit
    byteLimit = capture.byteLimit
    durationMillis = capture.durationMilliseconds
    fileByteLimit = capture.fileByteLimit
    fileCount = capture.fileCount
    rules = capture.rules
  }
}

extension CaptureProgress {
  init(_ capture: Sluice_Control_V1_Capture) {
    let state: CaptureState =
      switch capture.state {
      case .finished: .finished
      case .failed: .failed
      case .running, .unspecified, .UNRECOGNIZED: .running
      }
    self.init(
      state: state, error: capture.error, packetsReceived: capture.packetsReceived,
      packetsWritten: capture.packetsWritten, packetsSampledOut: capture.packetsSampledOut,
      packetsFilteredOut: capture.packetsFilteredOut, packetsDropped: capture.packetsDropped,
      packetsLostByKernel: capture.packetsLostByKernel, bytesWritten: capture.bytesWritten, files: capture.files)
  }
}
