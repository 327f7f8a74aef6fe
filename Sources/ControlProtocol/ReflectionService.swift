import Foundation
public import GRPCCore
import SwiftProtobuf

/// The standard reflection service, `grpc.reflection.v1.ServerReflection`.
public struct ReflectionService: Grpc_Reflection_V1_ServerReflection.SimpleServiceProtocol {
  typealias Request = Grpc_Reflection_V1_ServerReflectionRequest
  typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

  private let pool: DescriptorPool

  public init(_ pool: DescriptorPool = .standard) { self.pool = pool }

  public func serverReflectionInfo(
    request: RPCAsyncSequence<Grpc_Reflection_V1_ServerReflectionRequest, any Error>,
    response: RPCWriter<Grpc_Reflection_V1_ServerReflectionResponse>, context: ServerContext
  ) async throws {
    for try await message in request { try await response.write(answer(message)) }
  }

  func answer(_ request: Request) -> Response {
    .with {
      $0.validHost = request.host
      $0.originalRequest = request
      $0.messageResponse = message(for: request)
    }
  }

  private func message(for request: Request) -> Response.OneOf_MessageResponse {
    switch request.messageRequest {
    case .listServices:
      .listServicesResponse(.with { $0.service = pool.services.map { name in .with { $0.name = name } } })
    case .fileByFilename(let name):
      files(pool.files(from: name), "no file of this name")
    case .fileContainingSymbol(let symbol):
      files(pool.files(declaring: symbol), "no symbol of this name")
    case .fileContainingExtension:
      Self.failure(.notFound, "no extensions are declared")
    case .allExtensionNumbersOfType(let type):
      pool.containsMessage(type)
        ? .allExtensionNumbersResponse(.with { $0.baseTypeName = type })
        : Self.failure(.notFound, "no message type of this name")
    case nil:
      Self.failure(.invalidArgument, "message_request is missing")
    }
  }

  private func files(_ files: [Data]?, _ reason: String) -> Response.OneOf_MessageResponse {
    files.map { files in .fileDescriptorResponse(.with { $0.fileDescriptorProto = files }) }
      ?? Self.failure(.notFound, reason)
  }

  private static func failure(_ code: RPCError.Code, _ message: String) -> Response.OneOf_MessageResponse {
    .errorResponse(.with {
      $0.errorCode = Int32(code.rawValue)
      $0.errorMessage = message
    })
  }
}

/// `grpc.reflection.v1alpha.ServerReflection`, for clients that know only it: the same messages on the wire.
public struct ReflectionServiceAlpha: Grpc_Reflection_V1alpha_ServerReflection.SimpleServiceProtocol {
  private let service: ReflectionService

  public init(_ pool: DescriptorPool = .standard) { service = ReflectionService(pool) }

  public func serverReflectionInfo(
    request: RPCAsyncSequence<Grpc_Reflection_V1alpha_ServerReflectionRequest, any Error>,
    response: RPCWriter<Grpc_Reflection_V1alpha_ServerReflectionResponse>, context: ServerContext
  ) async throws {
    for try await message in request {
      let bytes: [UInt8] = try message.serializedBytes()
      let answer: [UInt8] = try service.answer(ReflectionService.Request(serializedBytes: bytes)).serializedBytes()
      try await response.write(Grpc_Reflection_V1alpha_ServerReflectionResponse(serializedBytes: answer))
    }
  }
}
