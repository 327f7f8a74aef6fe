import Control
import ControlProtocol
import Flows
import LinuxSystem

// Wires and flows: between the values of Control and the messages of control.proto.

private func unknown(_ field: String, _ number: Int) -> FieldError {
  FieldError(path: "options.\(field)", reason: "\(number) is no value that this version knows")
}

extension WorkerOptions {
  init(_ message: Sluice_Control_V1_WorkerOptions) throws(FieldError) {
    self.init(batch: message.batch, ringEntries: message.ringEntries)
    switch message.wait {
    case .unspecified: wait = nil
    case .adaptive: wait = .adaptive
    case .spin: wait = .spin
    case .block: wait = .block
    case .UNRECOGNIZED(let number): throw unknown("worker.wait", number)
    }
  }
}

extension Sluice_Control_V1_WorkerOptions {
  init(_ options: WorkerOptions) {
    self.init()
    switch options.wait {
    case nil: wait = .unspecified
    case .adaptive: wait = .adaptive
    case .spin: wait = .spin
    case .block: wait = .block
    }
    batch = options.batch
    ringEntries = options.ringEntries
  }
}

extension WireOptions {
  init(_ message: Sluice_Control_V1_WireOptions) throws(FieldError) {
    self.init(
      name: message.name, a: message.a, b: message.b, worker: try WorkerOptions(message.worker), mirror: message.mirror,
      mirrorSampleEvery: message.mirrorSampleEvery)
    switch message.path {
    case .unspecified, .auto: path = .auto
    case .kernel: path = .kernel
    case .user: path = .user
    case .UNRECOGNIZED(let number): throw unknown("path", number)
    }
    switch message.live {
    case .unspecified, .auto: live = .auto
    case .off: live = .off
    case .required: live = .required
    case .UNRECOGNIZED(let number): throw unknown("live", number)
    }
    if message.hasFlows { flows = FlowOptions(message.flows) }
  }
}

extension FlowOptions {
  init(_ message: Sluice_Control_V1_FlowOptions) {
    self.init(
      collector: message.collector, activeTimeoutMilliseconds: message.activeTimeoutMillis,
      idleTimeoutMilliseconds: message.idleTimeoutMillis, sampleEvery: message.sampleEvery, flowsMax: message.flowsMax)
  }
}

extension Sluice_Control_V1_WireOptions {
  init(_ options: WireOptions) {
    self.init()
    (name, a, b, mirror) = (options.name, options.a, options.b, options.mirror)
    path =
      switch options.path {
      case .auto: .auto
      case .kernel: .kernel
      case .user: .user
      }
    live =
      switch options.live {
      case .auto: .auto
      case .off: .off
      case .required: .required
      }
    worker = Sluice_Control_V1_WorkerOptions(options.worker)
    mirrorSampleEvery = options.mirrorSampleEvery
    if let flows = options.flows {
      self.flows = .with {
        $0.collector = flows.collector
        $0.activeTimeoutMillis = flows.activeTimeoutMilliseconds
        $0.idleTimeoutMillis = flows.idleTimeoutMilliseconds
        $0.sampleEvery = flows.sampleEvery
        $0.flowsMax = flows.flowsMax
      }
    }
  }
}

extension Sluice_Control_V1_Wire {
  init(_ status: WireStatus) {
    self.init()
    options = Sluice_Control_V1_WireOptions(status.options)
    path =
      switch status.path {
      case .kernel: .kernel
      case .user: .user
      case .none: .unspecified
      }
    reason = status.reason
    fallbackReason = status.fallbackReason ?? ""
    sides = status.sides.map(Sluice_Control_V1_WireSide.init)
    queues = status.queues.map(Sluice_Control_V1_WireQueue.init)
    warnings = status.warnings
    createdAtUnixNanos = status.createdAtNanoseconds
    if let flows = status.flows { self.flows = Sluice_Control_V1_FlowState(flows) }
  }
}

extension Sluice_Control_V1_WireSide {
  init(_ status: WireSideStatus) {
    self.init()
    interface = status.interface
    received = Dictionary(uniqueKeysWithValues: status.received.map { ($0.name, Sluice_Control_V1_Counter($0.count)) })
    forwarded = status.forwarded
    dropped = status.dropped
    notLive = status.notLive
    (captured, mirrored, mirrorDropped) = (status.captured, status.mirrored, status.mirrorDropped)
    transmitsRedirected = status.transmitsRedirected ?? false
  }
}

extension Sluice_Control_V1_WireQueue {
  init(_ status: WireQueueStatus) {
    self.init()
    queue = status.queue
    cpu = Int32(status.cpu)
    zeroCopy = status.isZeroCopy
    copyReason = status.copyReason ?? ""
    liveFrames = status.hasLiveFrames
    liveReason = status.liveReason ?? ""
    framesTotal = status.framesTotal
    framesPool = status.framesPool
    batches = status.thread.batches
    let thread = status.thread
    (busySeconds, idleSeconds, asleepSeconds) = (thread.busySeconds, thread.idleSeconds, thread.asleepSeconds)
  }
}

extension Sluice_Control_V1_FlowState {
  init(_ status: FlowStatus) {
    self.init()
    packets = status.packets
    notIp = status.notIP
    malformed = status.malformed
    (active, capacity, closed) = (status.active, status.capacity, status.closed)
    (evicted, lost) = (status.evicted, status.lost)
    exportedRecords = status.exportedRecords
    unsentRecords = status.unsentRecords
    messages = status.messages
    lostPackets = status.lostPackets
    exportErrors = status.exportErrors
  }
}

extension Sluice_Control_V1_TopFlowsResponse {
  init(_ report: TopFlowsReport) {
    self.init()
    flowCount = UInt64(report.flowCount)
    takenUnixNanos = report.takenNanoseconds
    complete = report.isComplete
    flows = report.flows.map(Sluice_Control_V1_Flow.init)
  }
}

extension Sluice_Control_V1_Flow {
  init(_ flow: TopFlowsReport.Flow) {
    self.init()
    let record = flow.entry.record
    source = record.key.source.description
    destination = record.key.destination.description
    `protocol` = record.key.protocol.description
    sourcePort = UInt32(record.key.sourcePort)
    if let icmp = record.key.icmp {
      (icmpType, icmpCode) = (UInt32(icmp.type), UInt32(icmp.code))
    } else {
      destinationPort = UInt32(record.key.destinationPort)
    }
    vlan = UInt32(record.key.vlanID ?? 0)
    interface = flow.interface
    (packets, bytes) = (record.packets, record.bytes)
    packetsPerSecond = flow.entry.packetsPerSecond
    bytesPerSecond = flow.entry.bytesPerSecond
    tcpFlags = UInt32(record.tcpFlags)
    (firstUnixNanos, lastUnixNanos) = (flow.firstNanoseconds, flow.lastNanoseconds)
  }
}
