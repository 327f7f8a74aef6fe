import ControlProtocol
import GRPCCore
import Rules
import Storage

// The calls of the control protocol, in the words of the store.
extension NodeClients {
  func status(_ node: Node) async throws(NodeCallError) -> Sluice_Control_V1_GetStatusResponse {
    try await call(node.name, at: node.address) { try await $0.getStatus(.init(), options: $1) }
  }

  func interfaces(_ node: Node) async throws(NodeCallError) -> [Sluice_Control_V1_Interface] {
    try await call(node.name, at: node.address) { try await $0.listInterfaces(.init(), options: $1) }.interfaces
  }

  /// - Parameter interface: nil for all attached ones.
  func counters(
    _ node: Node, interface: String?
  ) async throws(NodeCallError) -> [Sluice_Control_V1_InterfaceCounters] {
    let request = Sluice_Control_V1_GetCountersRequest.with { $0.interfaces = interface.map { [$0] } ?? [] }
    return try await call(node.name, at: node.address) { try await $0.getCounters(request, options: $1) }.interfaces
  }

  func attach(
    _ node: Node, interface: String, _ options: AttachmentOptions
  ) async throws(NodeCallError) -> Sluice_Control_V1_Attachment {
    let request = Sluice_Control_V1_AttachRequest.with {
      $0.interface = interface
      $0.options = .init(options)
    }
    return try await call(node.name, at: node.address, timeout: Self.changeTimeout) {
      try await $0.attach(request, options: $1)
    }.attachment
  }

  func detach(_ node: Node, interface: String) async throws(NodeCallError) {
    let request = Sluice_Control_V1_DetachRequest.with { $0.interface = interface }
    _ = try await call(node.name, at: node.address, timeout: Self.changeTimeout) {
      try await $0.detach(request, options: $1)
    }
  }

  func apply(
    _ node: Node, interfaces: [String], _ content: RuleSet, isDryRun: Bool = false
  ) async throws(NodeCallError) -> Sluice_Control_V1_ApplyResponse {
    let request = Sluice_Control_V1_ApplyRequest.with {
      $0.interfaces = interfaces
      $0.ruleSet = .init(content)
      $0.dryRun = isDryRun
    }
    return try await call(node.name, at: node.address, timeout: Self.changeTimeout) {
      try await $0.apply(request, options: $1)
    }
  }

  func startCapture(
    _ node: Node, interface: String, _ capture: CaptureRequest
  ) async throws(NodeCallError) -> Sluice_Control_V1_Capture {
    let request = Sluice_Control_V1_StartCaptureRequest(interface: interface, capture)
    return try await call(node.name, at: node.address, timeout: Self.changeTimeout) {
      try await $0.startCapture(request, options: $1)
    }.capture
  }

  func stopCapture(_ node: Node, id: String) async throws(NodeCallError) -> Sluice_Control_V1_Capture {
    let request = Sluice_Control_V1_StopCaptureRequest.with { $0.id = id }
    return try await call(node.name, at: node.address, timeout: Self.changeTimeout) {
      try await $0.stopCapture(request, options: $1)
    }.capture
  }

  func captures(_ node: Node) async throws(NodeCallError) -> [Sluice_Control_V1_Capture] {
    try await call(node.name, at: node.address) { try await $0.listCaptures(.init(), options: $1) }.captures
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
