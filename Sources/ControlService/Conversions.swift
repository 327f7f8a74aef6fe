import Control
import ControlProtocol
import DataPlane
import Rules
import XDPPrograms

// Between the values of Control and the messages of control.proto.

extension AttachmentOptions {
  /// UNSPECIFIED has the field's default.
  init(_ message: Sluice_Control_V1_AttachOptions) throws(FieldError) {
    self.init(keepOnExit: message.keepOnExit, worker: try WorkerOptions(message.worker))
    switch message.mode {
    case .unspecified, .auto: mode = .auto
    case .native: mode = .native
    case .generic: mode = .generic
    case .UNRECOGNIZED(let number): throw Self.unknown("mode", number)
    }
    switch message.zeroCopy {
    case .unspecified, .auto: zeroCopy = .auto
    case .required: zeroCopy = .required
    case .off: zeroCopy = .off
    case .UNRECOGNIZED(let number): throw Self.unknown("zero_copy", number)
    }
    switch message.coexistence {
    case .unspecified, .auto: coexistence = .auto
    case .exclusive: coexistence = .exclusive
    case .dispatcher: coexistence = .dispatcher
    case .UNRECOGNIZED(let number): throw Self.unknown("coexistence", number)
    }
    captureFallback = try Fate(message.captureFallback, default: .pass, path: "options.capture_fallback")
  }

  private static func unknown(_ field: String, _ number: Int) -> FieldError {
    FieldError(path: "options.\(field)", reason: "\(number) is no value that this version knows")
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
    captureFallback = Sluice_Control_V1_Fate(options.captureFallback)
    keepOnExit = options.keepOnExit
    if options.worker != WorkerOptions() { worker = Sluice_Control_V1_WorkerOptions(options.worker) }
  }
}

extension Sluice_Control_V1_QueueState {
  init(_ report: Control.QueueReport) {
    self.init()
    queue = report.queue
    zeroCopy = report.isZeroCopy
    cpu = Int32(report.cpu)
    numaNode = Int32(report.numaNode)
    hugePages = report.hasHugePages
    framesTotal = report.framesTotal
    framesPool = report.framesPool
    framesFill = report.framesFill
    framesInFlight = report.framesInFlight
    framesLent = report.framesLent
    receivedPackets = report.received.packets
    receivedBytes = report.received.bytes
    rxDropped = report.rxDropped
    rxInvalidDescs = report.rxInvalidDescriptors
    rxRingFull = report.rxRingFull
    rxFillRingEmptyDescs = report.rxFillRingEmpty
  }
}

extension Sluice_Control_V1_Attachment {
  init(_ report: AttachmentReport) {
    self.init()
    interface = report.interface
    options = Sluice_Control_V1_AttachOptions(report.options)
    mode = report.isNative ? .native : .generic
    fallbackReason = report.fallbackReason ?? ""
    dispatcher = report.isInDispatcher
    programID = report.programIdentifier
    generation = report.generation
    ruleSet = report.ruleSet ?? ""
    revision = report.revision
    queues = report.queues.map(Sluice_Control_V1_QueueState.init)
    warnings = report.warnings
    attachedAtUnixNanos = report.attachedAtNanoseconds
    if let trial = report.trial {
      confirmByUnixNanos = trial.confirmByNanoseconds
      previousRuleSet = trial.previousRuleSet ?? ""
      previousRevision = trial.previousRevision
    }
    expiringRules = UInt32(clamping: report.expiringRules)
    nextExpiryUnixNanos = report.nextExpiryNanoseconds
    expiredRules = UInt32(clamping: report.expiredRules)
    expiringElements = UInt32(clamping: report.expiringElements)
    expiredElements = report.endedElements
  }
}

extension Sluice_Control_V1_Interface {
  init(_ report: InterfaceReport) {
    self.init()
    name = report.name
    index = report.index
    mac = report.mac
    mtu = report.mtu
    up = report.isUp
    carrier = report.hasCarrier
    rxQueues = report.receiveQueueCount
    driver = report.driver
    numaNode = Int32(report.numaNode)
    foreignProgramID = report.foreignProgramIdentifier
    if let attachment = report.attachment { self.attachment = Sluice_Control_V1_Attachment(attachment) }
  }
}

extension Sluice_Control_V1_Counter {
  init(_ count: PacketCount) {
    self.init()
    packets = count.packets
    bytes = count.bytes
  }
}

extension Sluice_Control_V1_InterfaceCounters {
  init(_ report: CountersReport) {
    self.init()
    interface = report.interface
    ruleSet = report.ruleSet ?? ""
    revision = report.revision
    generation = report.generation
    rules = report.rules.map { rule in
      .with {
        $0.rule = rule.rule
        $0.action = rule.action
        $0.counter = Sluice_Control_V1_Counter(rule.count)
      }
    }
    actions = Self.counters(report.actions)
    events = Self.counters(report.events)
    malformed = Self.counters(report.malformed)
  }

  private static func counters(_ counts: [NamedCount]) -> [String: Sluice_Control_V1_Counter] {
    Dictionary(uniqueKeysWithValues: counts.map { ($0.name, Sluice_Control_V1_Counter($0.count)) })
  }
}

extension Sluice_Control_V1_Event {
  /// - Parameter epoch: The daemon's start.
  init(_ event: ControlEvent, epoch: UInt64) {
    self.init()
    self.epoch = epoch
    sequence = event.sequence
    timeUnixNanos = event.timeNanoseconds
    kind = event.kind.rawValue
    interface = event.interface
    message = event.message
    fields = event.fields
  }
}

extension CaptureOptions {
  init(_ message: Sluice_Control_V1_StartCaptureRequest) {
    self.init(
      interface: message.interface, path: message.path, snapLength: message.snapLength,
      sampleEvery: message.sampleEvery, packetLimit: message.packetLimit, byteLimit: message.byteLimit,
      durationMilliseconds: message.durationMillis, fileByteLimit: message.fileByteLimit,
      fileCount: message.fileCount, rules: message.rules)
  }
}

extension Sluice_Control_V1_StartCaptureRequest {
  init(_ options: CaptureOptions) {
    self.init()
    interface = options.interface
    path = options.path
    snapLength = options.snapLength
    sampleEvery = options.sampleEvery
    packetLimit = options.packetLimit
    byteLimit = options.byteLimit
    durationMillis = options.durationMilliseconds
    fileByteLimit = options.fileByteLimit
    fileCount = options.fileCount
    rules = options.rules
  }
}

extension Sluice_Control_V1_Capture {
  init(_ report: CaptureReport) {
    self.init()
    let summary = report.summary
    id = report.identifier
    request = Sluice_Control_V1_StartCaptureRequest(report.options)
    switch summary.state {
    case .running: state = .running
    case .finished: state = .finished
    case .failed(let cause):
      state = .failed
      error = cause.description
    }
    startedAtUnixNanos = summary.startedAt
    finishedAtUnixNanos = summary.finishedAt
    packetsReceived = summary.received
    packetsWritten = summary.written
    packetsSampledOut = summary.sampledOut
    packetsFilteredOut = summary.filteredOut
    packetsDropped = summary.dropped
    bytesWritten = summary.bytesWritten
    files = summary.files
    packetsLostByKernel = summary.lostByKernel
    stream = report.isStream
  }
}

extension RuleSetChange {
  init(_ request: Sluice_Control_V1_ChangeRuleRequest) throws(FieldError) {
    self.init(
      ruleSet: request.ruleSet,
      change: RuleChange(
        removed: request.removed.isEmpty ? nil : request.removed,
        inserted: request.hasInserted ? try Rule(request.inserted, path: "inserted") : nil,
        before: request.before.isEmpty ? nil : request.before),
      fromRevision: request.fromRevision, toRevision: request.toRevision)
  }
}

extension Sluice_Control_V1_ApplyResponse.Result {
  init(_ report: ApplyReport) {
    self.init()
    interface = report.interface
    generation = report.generation
    entries = UInt32(clamping: report.entryCount)
    selfTestPackets = UInt32(clamping: report.selfTestPacketCount)
    applySeconds = report.seconds
    inPlace = report.isInPlace
  }
}
