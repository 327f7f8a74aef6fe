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
    _ node: Node, interfaces: [String], _ content: RuleSet, isDryRun: Bool = false
  ) async throws(NodeCallError) -> Sluice_Control_V1_ApplyResponse {
    try await call(node) { client throws(ControlError) in
      try await client.apply(content, to: interfaces, dryRun: isDryRun)
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

  func captures(_ node: Node) async throws(NodeCallError) -> [Sluice_Control_V1_Capture] {
    try await call(node) { client throws(ControlError) in try await client.captures() }
  }
}

extension Sluice_Control_V1_AttachOptions {
  init(_ options: AttachmentOptions) {
    self.init()
    mode =
      switch options.mode {
      case .auto: .auto
      case .native: .native
      case .generic: .generic
      }
    zeroCopy =
      switch options.zeroCopy {
      case .auto: .auto
      case .required: .required
      case .off: .off
      }
    coexistence =
      switch options.coexistence {
      case .auto: .auto
      case .exclusive: .exclusive
      case .dispatcher: .dispatcher
      }
    captureFallback = .init(options.captureFallback)
    keepOnExit = options.keepOnExit
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
      bytesWritten: capture.bytesWritten, files: capture.files)
  }
}
