import Control
import ControlProtocol
import Flows
import GRPCCore
import LinuxSystem
import Rules

/// The `sluice.control.v1.Control` service: requests to the controller, and its answers back.
struct ControlServiceHandler: Sluice_Control_V1_Control.SimpleServiceProtocol {
  let controller: Controller
  let version: String
  let streams: StreamCount

  func getStatus(
    request: Sluice_Control_V1_GetStatusRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetStatusResponse {
    let attachments = await controller.attachmentReports()
    let captures = await controller.captureReports()
    let wires = await controller.wireStatuses()
    return .with {
      $0.wires = wires.map(Sluice_Control_V1_Wire.init)
      $0.version = version
      $0.startedAtUnixNanos = controller.startedAtNanoseconds
      $0.kernel = Kernel.release()
      $0.stateDirectory = controller.settings.stateDirectory
      $0.bpffs = controller.settings.bpffs
      $0.attachments = attachments.map(Sluice_Control_V1_Attachment.init)
      $0.captures = captures.map(Sluice_Control_V1_Capture.init)
      $0.limits = Controller.limits
      $0.features = Controller.kernelFeatures()
    }
  }

  func listInterfaces(
    request: Sluice_Control_V1_ListInterfacesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListInterfacesResponse {
    let interfaces = try await answering { try await controller.interfaces() }
    return .with { $0.interfaces = interfaces.map(Sluice_Control_V1_Interface.init) }
  }

  func attach(
    request: Sluice_Control_V1_AttachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_AttachResponse {
    let options = try AttachmentOptions(request.options)
    let report = try await answering { try await controller.attach(request.interface, options) }
    return .with { $0.attachment = Sluice_Control_V1_Attachment(report) }
  }

  func detach(
    request: Sluice_Control_V1_DetachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_DetachResponse {
    try await answering { try await controller.detach(request.interface) }
    return Sluice_Control_V1_DetachResponse()
  }

  func apply(
    request: Sluice_Control_V1_ApplyRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse {
    let ruleSet = try RuleSet(request.ruleSet)
    let (reports, warnings) = try await answering {
      try await controller.apply(
        ruleSet, to: request.interfaces, dryRun: request.dryRun, confirmWithin: request.confirmWithinSeconds)
    }
    let deadlines = await controller.attachmentReports().filter { request.interfaces.contains($0.interface) }
      .compactMap(\.trial?.confirmByNanoseconds)
    return .with {
      if request.confirmWithinSeconds > 0, !request.dryRun { $0.confirmByUnixNanos = deadlines.min() ?? 0 }
      $0.warnings = warnings
      $0.results = reports.map(Sluice_Control_V1_ApplyResponse.Result.init)
    }
  }

  func changeRule(
    request: Sluice_Control_V1_ChangeRuleRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse {
    let change = try RuleSetChange(request)
    let reports = try await answering { try await controller.change(change, on: request.interfaces) }
    return .with { $0.results = reports.map(Sluice_Control_V1_ApplyResponse.Result.init) }
  }

  func confirm(
    request: Sluice_Control_V1_ConfirmRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ConfirmResponse {
    try await answering { try await controller.confirm(request.interfaces, expecting: TrialSubject(request.ruleSet, request.revision)) }
    return Sluice_Control_V1_ConfirmResponse()
  }

  func withdraw(
    request: Sluice_Control_V1_WithdrawRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_WithdrawResponse {
    try await answering { try await controller.withdraw(request.interfaces, expecting: TrialSubject(request.ruleSet, request.revision)) }
    return Sluice_Control_V1_WithdrawResponse()
  }

  func getRuleSet(
    request: Sluice_Control_V1_GetRuleSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetRuleSetResponse {
    let (ruleSet, generation) = try await answering { try await controller.ruleSet(of: request.interface) }
    return .with {
      $0.ruleSet = Sluice_Control_V1_RuleSet(ruleSet)
      $0.generation = generation
    }
  }

  func getCounters(
    request: Sluice_Control_V1_GetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetCountersResponse {
    let reports = try await answering { try await controller.counters(of: request.interfaces) }
    return .with { $0.interfaces = reports.map(Sluice_Control_V1_InterfaceCounters.init) }
  }

  func streamEvents(
    request: Sluice_Control_V1_StreamEventsRequest, response: RPCWriter<Sluice_Control_V1_Event>,
    context: ServerContext
  ) async throws {
    let kinds = try Set(request.kinds.map(eventKind))
    let epoch = controller.startedAtNanoseconds
    let after = request.hasAfterSequence ? (request.epoch == epoch ? request.afterSequence : 0) : nil
    if request.pastOnly {
      for event in controller.events.past(after: after ?? 0) where kinds.isEmpty || kinds.contains(event.kind) {
        try await response.write(Sluice_Control_V1_Event(event, epoch: epoch))
      }
      return
    }
    guard let events = controller.events.subscribe(after: after) else {
      throw RPCError(
        code: .resourceExhausted,
        message: "\(EventBus.subscribersMax) event streams are open (event_streams_max), or the daemon is stopping")
    }
    // A handler's task isn't cancelled when the caller leaves (grpc-swift-2): this is what ends the loop.
    let subscription = Task {
      for await event in events where kinds.isEmpty || kinds.contains(event.kind) {
        try await response.write(Sluice_Control_V1_Event(event, epoch: epoch))
      }
    }
    try await withRPCCancellationHandler {
      do {
        try await subscription.value
      } catch is CancellationError {
        return
      }
    } onCancelRPC: {
      subscription.cancel()
    }
  }

  private func eventKind(_ name: String) throws -> ControlEvent.Kind {
    guard let kind = ControlEvent.Kind(rawValue: name) else {
      let names = ControlEvent.Kind.allCases.map(\.rawValue).joined(separator: ", ")
      throw FieldError(path: "kinds", reason: "\"\(name.prefix(64))\" is no kind of event; kinds are \(names)")
    }
    return kind
  }

  func startCapture(
    request: Sluice_Control_V1_StartCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StartCaptureResponse {
    let report = try await answering { try await controller.startCapture(CaptureOptions(request)) }
    return .with { $0.capture = Sluice_Control_V1_Capture(report) }
  }

  func stopCapture(
    request: Sluice_Control_V1_StopCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StopCaptureResponse {
    let report = try await answering { try await controller.stopCapture(request.id) }
    return .with { $0.capture = Sluice_Control_V1_Capture(report) }
  }

  func listCaptures(
    request: Sluice_Control_V1_ListCapturesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListCapturesResponse {
    let reports = await controller.captureReports()
    return .with { $0.captures = reports.map(Sluice_Control_V1_Capture.init) }
  }

  func createWire(
    request: Sluice_Control_V1_CreateWireRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_CreateWireResponse {
    let options = try WireOptions(request.options)
    let status = try await answering { try await controller.createWire(options) }
    return .with { $0.wire = Sluice_Control_V1_Wire(status) }
  }

  func deleteWire(
    request: Sluice_Control_V1_DeleteWireRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_DeleteWireResponse {
    try await answering { try await controller.deleteWire(request.name) }
    return Sluice_Control_V1_DeleteWireResponse()
  }

  func listWires(
    request: Sluice_Control_V1_ListWiresRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListWiresResponse {
    let wires = await controller.wireStatuses()
    return .with { $0.wires = wires.map(Sluice_Control_V1_Wire.init) }
  }

  func topFlows(
    request: Sluice_Control_V1_TopFlowsRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_TopFlowsResponse {
    let order: TopFlows.Order =
      switch request.order {
      case .unspecified, .bytes: .bytes
      case .packets: .packets
      case .UNRECOGNIZED(let number): throw FieldError(path: "order", reason: "\(number) is no order that this version knows")
      }
    let report = try await answering {
      try await controller.topFlows(of: request.wire, limit: Int(request.limit), by: order)
    }
    return Sluice_Control_V1_TopFlowsResponse(report)
  }

  /// Speaks of a controller's refusal in the terms of gRPC.
  func answering<Value>(_ body: () async throws -> Value) async throws -> Value {
    do {
      return try await body()
    } catch let error as Control.ControlError {
      throw RPCError(code: RPCError.Code(error.kind), message: error.message)
    }
  }
}

extension RPCError.Code {
  init(_ kind: Control.ControlError.Kind) {
    self =
      switch kind {
      case .invalidArgument: .invalidArgument
      case .notFound: .notFound
      case .alreadyExists: .alreadyExists
      case .failedPrecondition: .failedPrecondition
      case .resourceExhausted: .resourceExhausted
      case .internal: .internalError
      case .unavailable: .unavailable
      }
  }
}
