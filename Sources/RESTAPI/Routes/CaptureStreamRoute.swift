import ControlProtocol
import Hummingbird
import NIOCore
import Storage

/// A capture whose file is the answer, while it comes into being. It isn't kept in the history: its caller has it.
enum CaptureStreamRoute {
  static let contentType = "application/x-pcapng"

  @Sendable static func start(_ call: Call, _ services: Services) async throws -> Reply {
    let node = try await services.store.node(named: try call.body.text("node"))
    let request = Sluice_Control_V1_StartCaptureRequest(
      interface: try call.body.text("interface"), CaptureRoutes.request(call.body))
    let channel = PieceChannel<Sluice_Control_V1_StreamCaptureResponse>()
    let production = Production(into: channel) {
      try await services.nodes.streamCapture(node, request) { try await channel.put($0) }
    }
    // The daemon's refusal comes before the first piece: it is an answer with a status of its own.
    _ = try await channel.next()
    return Reply(
      .bytes(contentType: contentType) { writer in
        // It ends with this answer, whether anybody reads it or not.
        defer { withExtendedLifetime(production) {} }
        while let part = try await channel.next() {
          if !part.data.isEmpty { try await writer.write(ByteBuffer(bytes: part.data)) }
        }
      })
  }
}
