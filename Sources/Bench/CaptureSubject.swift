import DataPlane
import LinuxSystem
import XDPPrograms

extension Subject {
  /// Captures every packet of queue 0 into a file.
  ///
  /// 96 MiB in all: a third for the packet thread, the others between it and the writer. More frames would wait in colder
  /// memory (64 B: 32768 of them 3.8 Mpps, 16384 4.05, 8192 4.4), and bridge longer pauses.
  ///
  /// - Parameter classifies: A rule of Sluice's XDP program says that each is captured; else a bare one leads them here.
  public static func capture(_ name: String, path: String, cpu: Int, classifies: Bool) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(name)
    var configuration = QueueConfiguration(interface: interface, queue: 0, cpu: cpu, frameCount: 16384, wait: .adaptive)
    configuration.hasReceivers = true
    let worker = try QueueWorker.start(configuration)
    let session = try CaptureSession.start(
      CaptureRequest(path: path, ringByteCount: 64 << 20), interface: name, workers: [worker],
      names: SlotNames(), onFinish: { _ in })
    let program = try LeadingProgram.toCapture(
      worker.socketDescriptor, worker.receiver, from: interface, classifies: classifies)
    tell(readyText)
    StopFlag.wait()
    worker.settle()
    let summary = session.stop()
    tell(Account(packets: summary.received, dropped: summary.dropped).line)
    withExtendedLifetime(program) {}
  }
}
