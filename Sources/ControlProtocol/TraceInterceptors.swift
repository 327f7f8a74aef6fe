public import GRPCCore

/// Sends the current request's id and trace context along with each call.
public struct TraceClientInterceptor: ClientInterceptor {
  public init() {}

  public func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingClientRequest<Input>, context: ClientContext,
    next: (StreamingClientRequest<Input>, ClientContext) async throws -> StreamingClientResponse<Output>
  ) async throws -> StreamingClientResponse<Output> {
    guard let trace = RequestTrace.current else { return try await next(request, context) }
    var request = request
    request.metadata.replaceOrAddString(trace.parent, forKey: RequestTrace.parentHeader)
    if !trace.requestID.isEmpty {
      request.metadata.replaceOrAddString(trace.requestID, forKey: RequestTrace.requestHeader)
    }
    if let state = trace.state { request.metadata.replaceOrAddString(state, forKey: RequestTrace.stateHeader) }
    return try await next(request, context)
  }
}

/// Makes a caller's request id and trace context the current ones while its call is answered. Not for what a streaming
/// handler writes later: its producer runs after the interceptors.
public struct TraceServerInterceptor: ServerInterceptor {
  private let observe: @Sendable (_ method: String, _ succeeded: Bool, _ duration: Duration) -> Void

  /// - Parameter observe: called after each call, with the trace still current.
  public init(observe: @escaping @Sendable (_ method: String, _ succeeded: Bool, _ duration: Duration) -> Void) {
    self.observe = observe
  }

  public func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingServerRequest<Input>, context: ServerContext,
    next: (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<Output>
  ) async throws -> StreamingServerResponse<Output> {
    let first = { (key: String) in request.metadata[stringValues: key].first(where: { _ in true }) }
    let id = first(RequestTrace.requestHeader).flatMap { RequestTrace.isPlain(requestID: $0) ? $0 : nil } ?? ""
    let trace = RequestTrace(
      requestID: id, parent: first(RequestTrace.parentHeader), state: first(RequestTrace.stateHeader))
    let start = ContinuousClock.now
    return try await RequestTrace.$current.withValue(trace) {
      do {
        let response = try await next(request, context)
        let succeeded = if case .success = response.accepted { true } else { false }
        observe(context.descriptor.method, succeeded, ContinuousClock.now - start)
        return response
      } catch {
        observe(context.descriptor.method, false, ContinuousClock.now - start)
        throw error
      }
    }
  }
}
